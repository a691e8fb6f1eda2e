// Four threads of each rank talk at once; a request that one thread begins another ends.
#include "calls.h"
#include <pthread.h>

enum { THREADS = 4, TURNS = 500 };
static int rank, size;
static MPI_Request handed[THREADS][TURNS];
static int received[THREADS][TURNS];
static pthread_barrier_t all;

static void *work(void *argument) {
  int own = (int)(intptr_t)argument, next = (own + 1) % THREADS;
  MPI_Request send;
  for (int turn = 0; turn < TURNS; turn++)
    MPI_Irecv(&received[own][turn], 1, MPI_INT, (rank + size - 1) % size, own, MPI_COMM_WORLD, &handed[own][turn]);
  for (int turn = 0; turn < TURNS; turn++) {
    int value = rank * 1000000 + own * 10000 + turn;
    MPI_Isend(&value, 1, MPI_INT, (rank + 1) % size, own, MPI_COMM_WORLD, &send);
    MPI_Wait(&send, MPI_STATUS_IGNORE);
  }
  pthread_barrier_wait(&all);
  for (int turn = 0; turn < TURNS; turn++) MPI_Wait(&handed[next][turn], MPI_STATUS_IGNORE);
  return NULL;
}

int main(int argc, char **argv) {
  int level;
  pthread_t threads[THREADS];
  MPI_Init_thread(&argc, &argv, MPI_THREAD_MULTIPLE, &level);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (level < MPI_THREAD_MULTIPLE) return 2;
  pthread_barrier_init(&all, NULL, THREADS);
  for (int thread = 0; thread < THREADS; thread++) pthread_create(&threads[thread], NULL, work, (void *)(intptr_t)thread);
  for (int thread = 0; thread < THREADS; thread++) pthread_join(threads[thread], NULL);
  add(received, sizeof received);
  MPI_Finalize();
  printf("rank %d: %016llx\n", rank, (unsigned long long)checksum);
  return 0;
}
