// Nanoseconds per call on rank 0: the median of many blocks, one line for each kind of call.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

// So few that all records fit into the rings, as nobody reads them meanwhile.
enum { BLOCKS = 50, CALLS = 200 };
static int rank;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e9 + time.tv_nsec;
}

static int order(const void *a, const void *b) {
  double difference = *(const double *)a - *(const double *)b;
  return (difference > 0) - (difference < 0);
}

static void report(const char *name, double *blocks) {
  qsort(blocks, BLOCKS, sizeof *blocks, order);
  if (rank == 0) printf("%s %.1f\n", name, blocks[BLOCKS / 2] / CALLS);
}

static void reduce(const char *name, MPI_Comm comm) {
  double in = 1, out, blocks[BLOCKS];
  for (int block = 0; block < BLOCKS; block++) {
    double begin = now();
    for (int call = 0; call < CALLS; call++) MPI_Allreduce(&in, &out, 1, MPI_DOUBLE, MPI_SUM, comm);
    blocks[block] = now() - begin;
  }
  report(name, blocks);
}

// A message of 8 bytes there and back: per turn one send and one receive, each begun and waited for.
static void exchange(const char *name, MPI_Comm comm, int peer) {
  double in, out = 1, blocks[BLOCKS];
  MPI_Request send, receive;
  for (int block = 0; block < BLOCKS; block++) {
    double begin = now();
    for (int call = 0; call < CALLS; call++) {
      MPI_Irecv(&in, 1, MPI_DOUBLE, peer, 0, comm, &receive);
      MPI_Isend(&out, 1, MPI_DOUBLE, peer, 0, comm, &send);
      MPI_Wait(&send, MPI_STATUS_IGNORE);
      MPI_Wait(&receive, MPI_STATUS_IGNORE);
    }
    blocks[block] = now() - begin;
  }
  report(name, blocks);
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  reduce("allreduce", MPI_COMM_WORLD);
  exchange("exchange", MPI_COMM_WORLD, 1 - rank);
  reduce("allreduce_self", MPI_COMM_SELF);
  exchange("exchange_self", MPI_COMM_SELF, 0);
  MPI_Finalize();
  return 0;
}
