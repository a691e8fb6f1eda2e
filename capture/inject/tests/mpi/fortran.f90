! Fortran with the module `mpi`; what it does is in body.inc.
program fortran
  use mpi
  implicit none
  integer :: rank, ranks, right, left, code, index, half, triple
  integer :: requests(2), status(MPI_STATUS_SIZE), whole(3) = 1
  double precision :: numbers(64), results(64) = 0
  character(len=1000) :: path, text, line
  include 'body.inc'
