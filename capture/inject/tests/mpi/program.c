// Every kind of call, on 4 ranks; says of each what it knows.
#include "calls.h"

#define N 64
static int rank, size, right, left;
static int out[8 * N], in[8 * N];
static int world_calls;  // collectives of MPI_COMM_WORLD so far
#define WORLD world_calls++

static void fill(int salt) {
  for (int index = 0; index < 8 * N; index++) {
    out[index] = index * 31 + salt * 7 + rank;
    in[index] = -1;
  }
}

static void messages(void) {
  MPI_Status status;
  fill(1);
  for (int mode = 0; mode < 3; mode++) {
    const char *names[] = {"MPI_Send", "MPI_Ssend", "MPI_Bsend"};
    for (int turn = 0; turn < 2; turn++) {
      if (rank % 2 == turn) {
        know("%s bytes=%d count=%d peer=%d tag=%d size=4 rank=%d dtype=MPI_INT seq=none comm=world", names[mode], 4 * (10 + mode), 10 + mode, right, 70 + mode, rank);
        if (mode == 0) MPI_Send(out, 10, MPI_INT, right, 70, MPI_COMM_WORLD);
        if (mode == 1) MPI_Ssend(out, 11, MPI_INT, right, 71, MPI_COMM_WORLD);
        if (mode == 2) MPI_Bsend(out, 12, MPI_INT, right, 72, MPI_COMM_WORLD);
      } else if (mode == 0) {
        know("MPI_Recv bytes=%d count=%d peer=%d tag=70 got_bytes=40 got_source=%d got_tag=70 comm=world", 4 * N, N, left, left);
        MPI_Recv(in, N, MPI_INT, left, 70, MPI_COMM_WORLD, &status);
        int count;
        MPI_Get_count(&status, MPI_INT, &count);
        add(&count, sizeof count);
        add(&status.MPI_SOURCE, sizeof(int));
      } else {
        know("MPI_Recv bytes=%d peer=-2 tag=-1 got_bytes=%d got_source=%d got_tag=%d", 4 * N, 4 * (10 + mode), left, 70 + mode);
        MPI_Recv(in, N, MPI_INT, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      }
    }
    add(in, sizeof in);
  }
  know("MPI_Sendrecv bytes=80 count=20 peer=%d tag=5 receive_peer=%d receive_tag=5 receive_bytes=%d got_bytes=80 got_source=%d got_tag=5", right, left, 4 * N, left);
  MPI_Sendrecv(out, 20, MPI_INT, right, 5, in, N, MPI_INT, left, 5, MPI_COMM_WORLD, &status);
  know("MPI_Sendrecv_replace bytes=0 peer=-1 tag=5 receive_peer=-1 receive_bytes=0 got_bytes=0 got_source=-1");
  MPI_Sendrecv_replace(in, 20, MPI_INT, MPI_PROC_NULL, 5, MPI_PROC_NULL, 5, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  add(in, sizeof in);
  know("MPI_Send bytes=0 count=0 peer=-1 tag=1");
  MPI_Send(out, 5, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD);
  know("MPI_Recv bytes=0 peer=-1 got_bytes=0 got_source=-1");
  MPI_Recv(in, 5, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &status);
}

static void requests(void) {
  MPI_Request request[8], one;
  MPI_Status status[8];
  int index, indices[8], flag = 0, done;
  fill(2);
  // A posted receive, for which a ready send is allowed once both know.
  know("MPI_Irecv bytes=%d peer=%d tag=3 begins=ready seq=none", 4 * N, left);
  MPI_Irecv(in, N, MPI_INT, left, 3, MPI_COMM_WORLD, &one);
  know("MPI_Barrier bytes=0 comm=world seq=%d", WORLD);
  MPI_Barrier(MPI_COMM_WORLD);
  know("MPI_Rsend bytes=8 peer=%d tag=3", right);
  MPI_Rsend(out, 1, MPI_DOUBLE, right, 3, MPI_COMM_WORLD);
  know("MPI_Wait waits=ready ends=ready:8:%d:3", left);
  MPI_Wait(&one, MPI_STATUS_IGNORE);
  add(in, 8);
  // All modes at once, ended together; small messages that leave at once share one handle.
  for (int number = 0; number < 4; number++) {
    know("MPI_Irecv bytes=%d peer=%d tag=%d begins=r%d", 4 * N, left, 20 + number, number);
    MPI_Irecv(in + number * N, N, MPI_INT, left, 20 + number, MPI_COMM_WORLD, &request[number]);
  }
  const char *names[] = {"MPI_Isend", "MPI_Issend", "MPI_Ibsend", "MPI_Isend"};
  for (int number = 0; number < 4; number++) {
    know("%s bytes=%d peer=%d tag=%d begins=s%d", names[number], 4 * (number + 1), right, 20 + number, number);
    if (number == 1) MPI_Issend(out, number + 1, MPI_INT, right, 20 + number, MPI_COMM_WORLD, &request[4 + number]);
    else if (number == 2) MPI_Ibsend(out, number + 1, MPI_INT, right, 20 + number, MPI_COMM_WORLD, &request[4 + number]);
    else MPI_Isend(out, number + 1, MPI_INT, right, 20 + number, MPI_COMM_WORLD, &request[4 + number]);
  }
  know("MPI_Waitall count=8 ends=r0:4:%d:20,r1:8:%d:21,r2:12:%d:22,r3:16:%d:23,s0,s1,s2,s3", left, left, left, left);
  MPI_Waitall(8, request, rank % 2 ? MPI_STATUSES_IGNORE : status);
  add(in, sizeof in);
  // To nobody and from nobody.
  know("MPI_Isend bytes=0 peer=-1 begins=n0");
  MPI_Isend(out, 3, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &request[0]);
  know("MPI_Irecv bytes=0 peer=-1 begins=n1");
  MPI_Irecv(in, 3, MPI_INT, MPI_PROC_NULL, 1, MPI_COMM_WORLD, &request[1]);
  request[2] = MPI_REQUEST_NULL;
  know("MPI_Waitall count=3 ends=n0,n1:0:-1:-1");
  MPI_Waitall(3, request, MPI_STATUSES_IGNORE);
  know("MPI_Wait waits=none");
  MPI_Wait(&request[2], MPI_STATUS_IGNORE);
  // One of several: the order of arrival is not known, but each ends once.
  for (int number = 0; number < 4; number++) {
    know("MPI_Irecv bytes=4 peer=%d tag=%d begins=w%d", left, 30 + number, number);
    MPI_Irecv(in + number, 1, MPI_INT, left, 30 + number, MPI_COMM_WORLD, &request[number]);
    know("MPI_Send bytes=4 peer=%d tag=%d", right, 30 + number);
    MPI_Send(out + number, 1, MPI_INT, right, 30 + number, MPI_COMM_WORLD);
  }
  know("MPI_Waitany count=4 ends=ANY1 of=w");
  MPI_Waitany(4, request, &index, MPI_STATUS_IGNORE);
  know("MPI_Waitsome count=4 ends=ANY of=w");
  MPI_Waitsome(4, request, &done, indices, MPI_STATUSES_IGNORE);
  know("MPI_Waitall count=4 ends=ANY of=w all=4");
  MPI_Waitall(4, request, status);
  add(in, sizeof in);
  // Tests leave a range when they find something.
  know("MPI_Irecv begins=t0");
  MPI_Irecv(in, 1, MPI_INT, left, 40, MPI_COMM_WORLD, &one);
  int polls = 0;
  MPI_Test(&one, &flag, MPI_STATUS_IGNORE);
  polls += !flag;
  know("MPI_Barrier seq=%d", WORLD);
  MPI_Barrier(MPI_COMM_WORLD);
  know("MPI_Send tag=40");
  MPI_Send(out, 1, MPI_INT, right, 40, MPI_COMM_WORLD);
  while (!flag) {
    MPI_Test(&one, &flag, &status[0]);
    polls += !flag;
  }
  know("MPI_Test waits=t0 ends=t0:4:%d:40 polls=%d", left, polls);
  for (int kind = 0; kind < 3; kind++) {
    for (int number = 0; number < 3; number++) {
      know("MPI_Irecv tag=%d begins=k%d", 50 + number, 3 * kind + number);
      MPI_Irecv(in + number, 1, MPI_INT, left, 50 + number, MPI_COMM_WORLD, &request[number]);
    }
    for (int number = 0; number < 3; number++) {
      know("MPI_Send tag=%d", 50 + number);
      MPI_Send(out + number, 1, MPI_INT, right, 50 + number, MPI_COMM_WORLD);
    }
    if (kind == 0) {
      polls = 0;
      for (flag = 0; !flag; polls += !flag) MPI_Testall(3, request, &flag, MPI_STATUSES_IGNORE);
      know("MPI_Testall count=3 ends=k0:4:%d:50,k1:4:%d:51,k2:4:%d:52 polls=%d", left, left, left, polls);
    } else {
      for (int left_over = 3; left_over > 0;) {
        polls = 0;
        if (kind == 1) {
          for (flag = 0; !flag; polls += !flag) MPI_Testany(3, request, &index, &flag, &status[0]);
          left_over--;
          know("MPI_Testany count=3 ends=k%d:4:%d:%d polls=%d", 3 * kind + index, status[0].MPI_SOURCE, status[0].MPI_TAG, polls);
        } else {
          for (done = 0; !done; polls += !done) MPI_Testsome(3, request, &done, indices, status);
          left_over -= done;
          char ends[200] = "";
          for (int number = 0; number < done; number++)
            sprintf(ends + strlen(ends), "%sk%d:4:%d:%d", number ? "," : "", 3 * kind + indices[number], left, status[number].MPI_TAG);
          know("MPI_Testsome count=3 ends=%s polls=%d", ends, polls);
        }
      }
    }
    add(in, sizeof in);
  }
  // Many at once.
  enum { MANY = 300 };
  static MPI_Request many[2 * MANY];
  for (int number = 0; number < MANY; number++) {
    know("MPI_Irecv begins=mr%d", number);
    MPI_Irecv(in, 1, MPI_INT, left, 60, MPI_COMM_WORLD, &many[number]);
    know("MPI_Isend begins=ms%d", number);
    MPI_Isend(out, 1, MPI_INT, right, 60, MPI_COMM_WORLD, &many[MANY + number]);
  }
  know("MPI_Waitall count=%d ends=ANY of=m all=%d", 2 * MANY, 2 * MANY);
  MPI_Waitall(2 * MANY, many, MPI_STATUSES_IGNORE);
  // A cancelled receive ends like any other; a given-up send is not seen to end.
  know("MPI_Irecv begins=cancelled");
  MPI_Irecv(in, 1, MPI_INT, left, 99, MPI_COMM_WORLD, &one);
  MPI_Cancel(&one);
  know("MPI_Wait waits=cancelled ends=cancelled");
  MPI_Wait(&one, &status[0]);
  know("MPI_Isend begins=given_up");
  MPI_Isend(out, 1, MPI_INT, right, 61, MPI_COMM_WORLD, &one);
  MPI_Request_free(&one);
  know("MPI_Recv tag=61 got_bytes=4");
  MPI_Recv(in, 1, MPI_INT, left, 61, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void persistent(void) {
  MPI_Request request[2];
  fill(3);
  know("MPI_Send_init bytes=0 count=0 peer=%d tag=8", right);
  MPI_Send_init(out, 6, MPI_INT, right, 8, MPI_COMM_WORLD, &request[0]);
  know("MPI_Recv_init bytes=0 peer=%d tag=8", left);
  MPI_Recv_init(in, N, MPI_INT, left, 8, MPI_COMM_WORLD, &request[1]);
  for (int turn = 0; turn < 3; turn++) {
    know("MPI_Start bytes=24 count=6 peer=%d tag=8 dtype=MPI_INT begins=ps%d comm=world", right, turn);
    MPI_Start(&request[0]);
    know("MPI_Start bytes=%d peer=%d tag=8 begins=pr%d", 4 * N, left, turn);
    MPI_Start(&request[1]);
    know("MPI_Wait waits=ps%d ends=ps%d", turn, turn);
    MPI_Wait(&request[0], MPI_STATUS_IGNORE);
    know("MPI_Wait waits=pr%d ends=pr%d:24:%d:8", turn, turn, left);
    MPI_Wait(&request[1], MPI_STATUS_IGNORE);
    add(in, sizeof in);
  }
  know("MPI_Wait waits=none");
  MPI_Wait(&request[0], MPI_STATUS_IGNORE);
  know("MPI_Startall count=2");
  know(">MPI_Start bytes=24 peer=%d begins=pa0", right);
  know(">MPI_Start bytes=%d peer=%d begins=pa1", 4 * N, left);
  MPI_Startall(2, request);
  know("MPI_Waitall count=2 ends=pa0,pa1:24:%d:8", left);
  MPI_Waitall(2, request, MPI_STATUSES_IGNORE);
  MPI_Request_free(&request[0]);
  MPI_Request_free(&request[1]);
}

static void probes(void) {
  MPI_Status status;
  MPI_Message message;
  MPI_Request request;
  int flag, polls = 0;
  fill(4);
  for (int kind = 0; kind < 4; kind++) {
    know("MPI_Isend bytes=%d begins=q%d", 4 * (kind + 1), kind);
    MPI_Isend(out, kind + 1, MPI_INT, right, 80 + kind, MPI_COMM_WORLD, &request);
    if (kind == 0) {
      know("MPI_Probe peer=-2 tag=80 got_bytes=4 got_source=%d got_tag=80", left);
      MPI_Probe(MPI_ANY_SOURCE, 80, MPI_COMM_WORLD, &status);
      know("MPI_Recv got_bytes=4");
      MPI_Recv(in, N, MPI_INT, left, 80, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else if (kind == 1) {
      for (flag = 0; !flag; polls += !flag) MPI_Iprobe(left, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
      know("MPI_Iprobe peer=%d tag=-1 got_bytes=8 got_tag=81 polls=%d", left, polls);
      know("MPI_Recv got_bytes=8");
      MPI_Recv(in, N, MPI_INT, left, 81, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else if (kind == 2) {
      know("MPI_Mprobe peer=-2 tag=82 got_bytes=12 got_source=%d", left);
      MPI_Mprobe(MPI_ANY_SOURCE, 82, MPI_COMM_WORLD, &message, &status);
      know("MPI_Mrecv bytes=%d peer=%d tag=82 got_bytes=12 comm=world", 4 * N, left);
      MPI_Mrecv(in, N, MPI_INT, &message, MPI_STATUS_IGNORE);
    } else {
      polls = 0;
      for (flag = 0; !flag; polls += !flag) MPI_Improbe(left, 83, MPI_COMM_WORLD, &flag, &message, &status);
      know("MPI_Improbe peer=%d got_bytes=16 polls=%d", left, polls);
      MPI_Request received;
      know("MPI_Imrecv bytes=%d peer=%d tag=83 begins=im", 4 * N, left);
      MPI_Imrecv(in, N, MPI_INT, &message, &received);
      know("MPI_Wait waits=im ends=im:16:%d:83", left);
      MPI_Wait(&received, MPI_STATUS_IGNORE);
    }
    know("MPI_Wait waits=q%d ends=q%d", kind, kind);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
    add(in, sizeof in);
  }
}

// Runs a collective and its form that does not block; `facts` are what both say.
static MPI_Request pending;
static int began;
#define BOTH(call, icall, name, iname, ...)                         \
  do {                                                              \
    char facts[300];                                                \
    snprintf(facts, sizeof facts, __VA_ARGS__);                     \
    know(name " %s seq=%d size=4 comm=world", facts, WORLD);        \
    call;                                                           \
    add(in, sizeof in);                                             \
    know(iname " %s seq=%d begins=c%d comm=world", facts, WORLD, began); \
    icall;                                                          \
    know("MPI_Wait waits=c%d ends=c%d", began, began);              \
    began++;                                                        \
    MPI_Wait(&pending, MPI_STATUS_IGNORE);                          \
    add(in, sizeof in);                                             \
  } while (0)
#define W MPI_COMM_WORLD
#define Q &pending

static void collectives(void) {
  int counts[4] = {1, 2, 3, 4}, displs[4] = {0, 1, 3, 6}, even[4] = {2, 2, 2, 2}, bytes[4] = {0, 8, 16, 24};
  int evens[4] = {0, 2, 4, 6};
  MPI_Datatype types[4] = {MPI_INT, MPI_INT, MPI_INT, MPI_INT};
  fill(5);
  BOTH(MPI_Barrier(W), MPI_Ibarrier(W, Q), "MPI_Barrier", "MPI_Ibarrier", "bytes=0 peer=-1");
  BOTH(MPI_Bcast(out, 9, MPI_INT, 2, W), MPI_Ibcast(out, 9, MPI_INT, 2, W, Q), "MPI_Bcast", "MPI_Ibcast", "bytes=36 count=9 peer=2 dtype=MPI_INT");
  BOTH(MPI_Reduce(out, in, 7, MPI_DOUBLE, MPI_SUM, 1, W), MPI_Ireduce(out, in, 7, MPI_DOUBLE, MPI_SUM, 1, W, Q), "MPI_Reduce", "MPI_Ireduce", "bytes=56 count=7 peer=1 dtype=MPI_DOUBLE");
  memset(in, 0, sizeof in);
  BOTH(MPI_Allreduce(out, in, 5, MPI_INT, MPI_SUM, W), MPI_Iallreduce(out, in, 5, MPI_INT, MPI_SUM, W, Q), "MPI_Allreduce", "MPI_Iallreduce", "bytes=20 count=5 peer=-1");
  BOTH(MPI_Allreduce(MPI_IN_PLACE, in, 5, MPI_INT, MPI_MAX, W), MPI_Iallreduce(MPI_IN_PLACE, in, 5, MPI_INT, MPI_MAX, W, Q), "MPI_Allreduce", "MPI_Iallreduce", "bytes=20 count=5");
  BOTH(MPI_Scan(out, in, 3, MPI_INT, MPI_SUM, W), MPI_Iscan(out, in, 3, MPI_INT, MPI_SUM, W, Q), "MPI_Scan", "MPI_Iscan", "bytes=12");
  memset(in, 0, sizeof in);
  BOTH(MPI_Exscan(out, in, 3, MPI_INT, MPI_SUM, W), MPI_Iexscan(out, in, 3, MPI_INT, MPI_SUM, W, Q), "MPI_Exscan", "MPI_Iexscan", "bytes=12");
  BOTH(MPI_Reduce_scatter(out, in, counts, MPI_INT, MPI_SUM, W), MPI_Ireduce_scatter(out, in, counts, MPI_INT, MPI_SUM, W, Q), "MPI_Reduce_scatter", "MPI_Ireduce_scatter", "bytes=40 count=10");
  BOTH(MPI_Reduce_scatter_block(out, in, 3, MPI_INT, MPI_SUM, W), MPI_Ireduce_scatter_block(out, in, 3, MPI_INT, MPI_SUM, W, Q), "MPI_Reduce_scatter_block", "MPI_Ireduce_scatter_block", "bytes=48 count=12");
  BOTH(MPI_Gather(out, 2, MPI_INT, in, 2, MPI_INT, 0, W), MPI_Igather(out, 2, MPI_INT, in, 2, MPI_INT, 0, W, Q), "MPI_Gather", "MPI_Igather", "bytes=8 peer=0");
  // In place at the root, where the send arguments mean nothing; elsewhere the receive arguments mean nothing.
  if (rank == 3)
    BOTH(MPI_Gather(MPI_IN_PLACE, 999, MPI_DATATYPE_NULL, in, 2, MPI_INT, 3, W), MPI_Igather(MPI_IN_PLACE, 999, MPI_DATATYPE_NULL, in, 2, MPI_INT, 3, W, Q), "MPI_Gather", "MPI_Igather", "bytes=8 peer=3");
  else
    BOTH(MPI_Gather(out, 2, MPI_INT, NULL, 77, MPI_DATATYPE_NULL, 3, W), MPI_Igather(out, 2, MPI_INT, NULL, 77, MPI_DATATYPE_NULL, 3, W, Q), "MPI_Gather", "MPI_Igather", "bytes=8 peer=3");
  BOTH(MPI_Gatherv(out, counts[rank], MPI_INT, in, rank ? NULL : counts, rank ? NULL : displs, MPI_INT, 0, W), MPI_Igatherv(out, counts[rank], MPI_INT, in, rank ? NULL : counts, rank ? NULL : displs, MPI_INT, 0, W, Q), "MPI_Gatherv", "MPI_Igatherv", "bytes=%d", 4 * counts[rank]);
  BOTH(MPI_Scatter(out, 2, MPI_INT, in, 2, MPI_INT, 0, W), MPI_Iscatter(out, 2, MPI_INT, in, 2, MPI_INT, 0, W, Q), "MPI_Scatter", "MPI_Iscatter", "bytes=%d", rank ? 8 : 32);
  BOTH(MPI_Scatterv(out, rank == 1 ? counts : NULL, rank == 1 ? displs : NULL, MPI_INT, in, counts[rank], MPI_INT, 1, W), MPI_Iscatterv(out, rank == 1 ? counts : NULL, rank == 1 ? displs : NULL, MPI_INT, in, counts[rank], MPI_INT, 1, W, Q), "MPI_Scatterv", "MPI_Iscatterv", "bytes=%d peer=1", rank == 1 ? 40 : 4 * counts[rank]);
  BOTH(MPI_Allgather(out, 2, MPI_INT, in, 2, MPI_INT, W), MPI_Iallgather(out, 2, MPI_INT, in, 2, MPI_INT, W, Q), "MPI_Allgather", "MPI_Iallgather", "bytes=8");
  BOTH(MPI_Allgatherv(out, counts[rank], MPI_INT, in, counts, displs, MPI_INT, W), MPI_Iallgatherv(out, counts[rank], MPI_INT, in, counts, displs, MPI_INT, W, Q), "MPI_Allgatherv", "MPI_Iallgatherv", "bytes=%d", 4 * counts[rank]);
  BOTH(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, in, counts, displs, MPI_INT, W), MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, in, counts, displs, MPI_INT, W, Q), "MPI_Allgatherv", "MPI_Iallgatherv", "bytes=%d", 4 * counts[rank]);
  BOTH(MPI_Alltoall(out, 3, MPI_INT, in, 3, MPI_INT, W), MPI_Ialltoall(out, 3, MPI_INT, in, 3, MPI_INT, W, Q), "MPI_Alltoall", "MPI_Ialltoall", "bytes=48 count=12");
  BOTH(MPI_Alltoallv(out, even, evens, MPI_INT, in, even, evens, MPI_INT, W), MPI_Ialltoallv(out, even, evens, MPI_INT, in, even, evens, MPI_INT, W, Q), "MPI_Alltoallv", "MPI_Ialltoallv", "bytes=32 count=8");
  BOTH(MPI_Alltoallw(out, even, bytes, types, in, even, bytes, types, W), MPI_Ialltoallw(out, even, bytes, types, in, even, bytes, types, W, Q), "MPI_Alltoallw", "MPI_Ialltoallw", "bytes=32 count=8 dtype=mixed");
}

static void neighbours(void) {
  MPI_Comm ring;
  int sizes[1] = {4}, periods[1] = {1}, counts[2] = {1, 2}, displs[2] = {0, 1};
  MPI_Aint apart[2] = {0, 4};
  MPI_Datatype types[2] = {MPI_INT, MPI_INT};
  MPI_Request request;
  fill(6);
  know("MPI_Cart_create seq=%d comm=world", WORLD);
  MPI_Cart_create(MPI_COMM_WORLD, 1, sizes, periods, 0, &ring);
  know("MPI_Neighbor_allgather bytes=12 seq=0 comm=ring members=0-3");
  MPI_Neighbor_allgather(out, 3, MPI_INT, in, 3, MPI_INT, ring);
  know("MPI_Neighbor_alltoall bytes=24 seq=1 comm=ring");
  MPI_Neighbor_alltoall(out, 3, MPI_INT, in, 3, MPI_INT, ring);
  know("MPI_Ineighbor_alltoall bytes=24 seq=2 comm=ring begins=nb");
  MPI_Ineighbor_alltoall(out, 3, MPI_INT, in, 3, MPI_INT, ring, &request);
  know("MPI_Wait ends=nb");
  MPI_Wait(&request, MPI_STATUS_IGNORE);
  int three[2] = {1, 1}, apart_int[2] = {0, 1};
  (void)counts;
  know("MPI_Neighbor_alltoallv bytes=8 seq=3 comm=ring");
  MPI_Neighbor_alltoallv(out, three, displs, MPI_INT, in, three, apart_int, MPI_INT, ring);
  know("MPI_Neighbor_alltoallw bytes=8 seq=4 comm=ring");
  MPI_Neighbor_alltoallw(out, three, apart, types, in, three, apart, types, ring);
  know("MPI_Neighbor_allgatherv bytes=4 seq=5 comm=ring");
  MPI_Neighbor_allgatherv(out, 1, MPI_INT, in, three, displs, MPI_INT, ring);
  know("MPI_Comm_free seq=6 comm=ring");
  MPI_Comm_free(&ring);
  add(in, sizeof in);
}

static void communicators(void) {
  MPI_Comm copy, second, half, reversed, none, group_comm, inter, merged, later, node;
  MPI_Group world_group, group;
  MPI_Request request;
  int first_two[2] = {0, 1};
  fill(7);
  know("MPI_Comm_dup seq=%d comm=world", WORLD);
  MPI_Comm_dup(MPI_COMM_WORLD, &copy);
  know("MPI_Comm_dup seq=%d comm=world", WORLD);
  MPI_Comm_dup(MPI_COMM_WORLD, &second);
  know("MPI_Allreduce comm=copy seq=0 members=0-3 size=4");
  MPI_Allreduce(out, in, 1, MPI_INT, MPI_SUM, copy);
  know("MPI_Allreduce comm=second seq=0 members=0-3 size=4");
  MPI_Allreduce(out, in, 1, MPI_INT, MPI_SUM, second);
  know("MPI_Allreduce comm=copy seq=1");
  MPI_Allreduce(out, in, 1, MPI_INT, MPI_SUM, copy);
  know("MPI_Comm_split seq=%d comm=world", WORLD);
  MPI_Comm_split(MPI_COMM_WORLD, rank % 2, 0, &half);
  know("MPI_Bcast comm=half%d seq=0 size=2 rank=%d members=%s", rank % 2, rank / 2, rank % 2 ? "1,3" : "0,2");
  MPI_Bcast(in, 1, MPI_INT, 0, half);
  know("MPI_Comm_split seq=%d comm=world", WORLD);
  MPI_Comm_split(MPI_COMM_WORLD, 0, -rank, &reversed);
  know("MPI_Barrier comm=reversed seq=0 size=4 rank=%d members=3,2,1,0", 3 - rank);
  MPI_Barrier(reversed);
  know("MPI_Comm_split seq=%d comm=world", WORLD);
  MPI_Comm_split(MPI_COMM_WORLD, rank == 3 ? MPI_UNDEFINED : 1, 0, &none);
  if (rank != 3) {
    know("MPI_Barrier comm=three seq=0 size=3 members=0-2");
    MPI_Barrier(none);
    know("MPI_Comm_free comm=three seq=1");
    MPI_Comm_free(&none);
  }
  know("MPI_Comm_split_type seq=%d comm=world", WORLD);
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  know("MPI_Barrier comm=node seq=0 size=4 members=0-3");
  MPI_Barrier(node);
  MPI_Comm_group(MPI_COMM_WORLD, &world_group);
  MPI_Group_incl(world_group, 2, first_two, &group);
  know("MPI_Comm_create seq=%d comm=world", WORLD);
  MPI_Comm_create(MPI_COMM_WORLD, group, &group_comm);
  if (rank < 2) {
    know("MPI_Barrier comm=pair seq=0 size=2 members=0-1");
    MPI_Barrier(group_comm);
    know("MPI_Comm_free comm=pair seq=1");
    MPI_Comm_free(&group_comm);
    know("MPI_Comm_create_group seq=none comm=world");
    MPI_Comm_create_group(MPI_COMM_WORLD, group, 5, &group_comm);
    know("MPI_Barrier comm=pair2 seq=0 size=2 members=0-1");
    MPI_Barrier(group_comm);
    know("MPI_Comm_free comm=pair2 seq=1");
    MPI_Comm_free(&group_comm);
  }
  MPI_Group_free(&group);
  MPI_Group_free(&world_group);
  know("MPI_Comm_idup seq=%d comm=world begins=idup", WORLD);
  MPI_Comm_idup(MPI_COMM_WORLD, &later, &request);
  know("MPI_Wait waits=idup ends=idup");
  MPI_Wait(&request, MPI_STATUS_IGNORE);
  know("MPI_Barrier comm=later seq=0 members=0-3");
  MPI_Barrier(later);
  know("MPI_Intercomm_create comm=half%d seq=1", rank % 2);
  MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, rank % 2 ? 0 : 1, 12, &inter);
  know("MPI_Sendrecv comm=inter bytes=4 peer=%d size=2 got_bytes=4 got_source=%d", rank / 2, rank / 2);
  MPI_Sendrecv(out, 1, MPI_INT, rank / 2, 4, in, 1, MPI_INT, rank / 2, 4, inter, MPI_STATUS_IGNORE);
  know("MPI_Alltoall comm=inter seq=0 bytes=24");
  MPI_Alltoall(out, 3, MPI_INT, in, 3, MPI_INT, inter);
  // From rank 1 of the even side to the odd side.
  int root = rank % 2 ? 1 : rank == 2 ? MPI_ROOT : MPI_PROC_NULL;
  know("MPI_Bcast comm=inter seq=1 bytes=%d", rank == 0 ? 0 : 8);
  MPI_Bcast(rank % 2 ? in : out, 2, MPI_INT, root, inter);
  know("MPI_Gather comm=inter seq=2 bytes=%d", rank % 2 ? 4 : 0);
  MPI_Gather(out, 1, MPI_INT, in, 1, MPI_INT, root, inter);
  know("MPI_Intercomm_merge comm=inter seq=3");
  MPI_Intercomm_merge(inter, rank % 2, &merged);
  know("MPI_Allreduce comm=merged seq=0 members=0,2,1,3");
  MPI_Allreduce(out, in + 8, 1, MPI_INT, MPI_SUM, merged);
  MPI_Comm *all[] = {&merged, &inter, &later, &node, &reversed, &second, &copy, &half};
  const char *names[] = {"merged", "inter", "later", "node", "reversed", "second", "copy", "half"};
  int next[] = {1, 4, 1, 1, 1, 1, 2, 2};
  for (int index = 0; index < 8; index++) {
    know("MPI_Comm_free comm=%s%s seq=%d", names[index], index == 7 ? (rank % 2 ? "1" : "0") : "", next[index]);
    MPI_Comm_free(all[index]);
  }
  // Handles and members are the same again; the communicator is not.
  for (int turn = 0; turn < 3; turn++) {
    know("MPI_Comm_dup seq=%d comm=world", WORLD);
    MPI_Comm_dup(MPI_COMM_WORLD, &copy);
    know("MPI_Barrier comm=again%d seq=0", turn);
    MPI_Barrier(copy);
    know("MPI_Comm_free comm=again%d seq=1", turn);
    MPI_Comm_free(&copy);
  }
  know("MPI_Barrier size=1 rank=0 seq=0 members=%d", rank);
  MPI_Barrier(MPI_COMM_SELF);
  add(in, sizeof in);
}

static void datatypes(void) {
  MPI_Datatype column, pair, same;
  fill(8);
  MPI_Type_vector(4, 2, 8, MPI_INT, &column);
  MPI_Type_commit(&column);
  know("MPI_Bcast bytes=64 count=2 dtype=derived seq=%d", WORLD);
  MPI_Bcast(out, 2, column, 0, MPI_COMM_WORLD);
  // Never committed by its own: known after its first use.
  MPI_Type_dup(column, &same);
  know("MPI_Bcast bytes_later=96 count=3 seq=%d", WORLD);
  MPI_Bcast(out, 3, same, 0, MPI_COMM_WORLD);
  know("MPI_Bcast bytes=32 count=1 seq=%d", WORLD);
  MPI_Bcast(out, 1, same, 0, MPI_COMM_WORLD);
  MPI_Type_free(&column);
  MPI_Type_free(&same);
  for (int turn = 1; turn < 4; turn++) {
    // The handle of the type before may come again.
    MPI_Type_contiguous(turn, MPI_DOUBLE, &pair);
    MPI_Type_set_name(pair, "some doubles");
    MPI_Type_commit(&pair);
    know("MPI_Bcast bytes=%d count=2 dtype=some_doubles seq=%d", 16 * turn, WORLD);
    MPI_Bcast(out, 2, pair, 0, MPI_COMM_WORLD);
    MPI_Type_free(&pair);
  }
  const MPI_Datatype own[] = {MPI_CHAR, MPI_BYTE, MPI_INT64_T, MPI_FLOAT, MPI_LONG_DOUBLE, MPI_FLOAT_INT, MPI_C_DOUBLE_COMPLEX};
  const int bytes[] = {1, 1, 8, 4, 16, 8, 16};
  for (int index = 0; index < 7; index++) {
    know("MPI_Bcast bytes=%d count=3 seq=%d", 3 * bytes[index], WORLD);
    MPI_Bcast(out, 3, own[index], 1, MPI_COMM_WORLD);
  }
}

static void errors(void) {
  MPI_Comm copy;
  know("MPI_Comm_dup seq=%d", WORLD);
  MPI_Comm_dup(MPI_COMM_WORLD, &copy);
  MPI_Comm_set_errhandler(copy, MPI_ERRORS_RETURN);
  int code, class;
  know("MPI_Send peer=77 error=some");
  code = MPI_Send(out, 1, MPI_INT, 77, 0, copy);
  MPI_Error_class(code, &class);
  int expected = class == MPI_ERR_RANK;
  know("MPI_Send bytes=0 error=some");
  code = MPI_Send(out, 1, MPI_DATATYPE_NULL, right, 0, copy);
  MPI_Error_class(code, &class);
  expected += class == MPI_ERR_TYPE;
  know("MPI_Bcast seq=0 error=some");
  code = MPI_Bcast(out, -1, MPI_INT, 0, copy);
  MPI_Error_class(code, &class);
  expected += class == MPI_ERR_COUNT;
  add(&expected, sizeof expected);
  printf("rank %d: %d errors of 3 as they should be\n", rank, expected);
  know("MPI_Comm_free seq=1");
  MPI_Comm_free(&copy);
}

#if MPI_VERSION >= 4
static void large(void) {
  MPI_Count counts[4] = {1, 2, 3, 4};
  MPI_Aint displs[4] = {0, 1, 3, 6};
  MPI_Request request;
  fill(9);
  know("MPI_Isend bytes=20 count=5 peer=%d tag=4 begins=large", right);
  MPI_Isend_c(out, 5, MPI_INT, right, 4, MPI_COMM_WORLD, &request);
  know("MPI_Recv bytes=24 count=6 got_bytes=20");
  MPI_Recv_c(in, 6, MPI_INT, left, 4, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  know("MPI_Wait ends=large");
  MPI_Wait(&request, MPI_STATUS_IGNORE);
  know("MPI_Allgatherv bytes=%d seq=%d", 4 * (rank + 1), WORLD);
  MPI_Allgatherv_c(out, counts[rank], MPI_INT, in, counts, displs, MPI_INT, MPI_COMM_WORLD);
  know("MPI_Reduce_scatter bytes=40 seq=%d", WORLD);
  MPI_Reduce_scatter_c(out, in, counts, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  add(in, sizeof in);
}
#endif

int main(int argc, char **argv) {
  static char buffer[1 << 20];
  open_log(rank_from_launcher());
  know("MPI_Init");
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  right = (rank + 1) % size;
  left = (rank + size - 1) % size;
  MPI_Buffer_attach(buffer, sizeof buffer);
  messages();
  requests();
  persistent();
  probes();
  collectives();
  neighbours();
  communicators();
  datatypes();
  errors();
#if MPI_VERSION >= 4
  large();
#endif
  void *back;
  int bytes;
  MPI_Buffer_detach(&back, &bytes);
  know("MPI_Finalize");
  MPI_Finalize();
  printf("rank %d of %d: %016llx\n", rank, size, (unsigned long long)checksum);
  return 0;
}
