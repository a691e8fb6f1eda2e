/* The C half of a step. */
static volatile unsigned long sink;

void work(long rounds) {
    for (long i = 0; i < rounds; i++) sink = sink * 31 + i;
}
