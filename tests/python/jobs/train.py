"""A training job that knows nothing of Gapless (but with `--ask-at`): a small transformer or MLP, a DataLoader with workers, AdamW.

Prints one line with the loss and a checksum of the weights, the same in each run of the same options.
"""

import argparse
import hashlib
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Tokens(Dataset):
    def __init__(self, count, length, delay, slow_every, slow):
        self.count, self.length, self.delay, self.slow_every, self.slow = count, length, delay, slow_every, slow

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if self.delay:
            time.sleep(self.delay)
        if self.slow_every and index % self.slow_every == self.slow_every - 1:
            time.sleep(self.slow)
        tokens = torch.randint(0, 64, (self.length + 1,), generator=torch.Generator().manual_seed(index))
        return tokens[:-1], tokens[1:]


class Transformer(nn.Module):
    def __init__(self, width=32, layers=2):
        super().__init__()
        self.embedding = nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 64)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)))


class Mlp(nn.Module):
    def __init__(self, width=32):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(64, width), nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, tokens):
        return self.layers(tokens)


def options():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=16, help="tokens of a sample")
    parser.add_argument("--workers", type=int, default=2, help="processes that load data; 0 loads in the job itself")
    parser.add_argument("--accumulate", type=int, default=1, help="batches per optimizer step")
    parser.add_argument("--model", choices=("transformer", "mlp"), default="transformer")
    parser.add_argument("--width", type=int, default=32, help="width of the model")
    parser.add_argument("--depth", type=int, default=2, help="layers of the transformer")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each sample takes to load")
    parser.add_argument("--slow-every", type=int, default=0, help="each N-th sample takes --slow seconds more")
    parser.add_argument("--slow", type=float, default=0.05)
    parser.add_argument("--ask-at", type=int, help="ask the recorder for a window of three steps after this step")
    parser.add_argument("--time", action="store_true", help="also print the median step time")
    return parser


def make_model(name, width=32, depth=2):
    torch.manual_seed(0)
    return Transformer(width, depth) if name == "transformer" else Mlp(width)


def loader(args, sampler=None):
    count = args.steps * args.batch * args.accumulate
    data = Tokens(count, args.length, args.delay, args.slow_every, args.slow)
    return DataLoader(data, batch_size=args.batch, num_workers=args.workers, sampler=sampler)


def checksum(model):
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def main():
    args = options().parse_args()
    torch.set_num_threads(1)
    model = make_model(args.model, args.width, args.depth)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss()
    times, begun = [], time.perf_counter()
    for index, (tokens, wanted) in enumerate(loader(args)):
        loss = loss_of(model(tokens).flatten(0, 1), wanted.flatten()) / args.accumulate
        loss.backward()
        if (index + 1) % args.accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            if index + 1 == args.ask_at:
                import gapless

                gapless.record_window(3)
            now = time.perf_counter()
            times.append(now - begun)
            begun = now
    line = "loss %.6f checksum %s" % (loss.item() * args.accumulate, checksum(model))
    if args.time:
        line += " median step %.3f ms" % (sorted(times)[len(times) // 2] * 1e3)
    print(line, flush=True)


if __name__ == "__main__":
    main()
