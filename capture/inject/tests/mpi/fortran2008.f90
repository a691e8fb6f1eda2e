! Fortran with the module `mpi_f08`; what it does is in body.inc.
program fortran2008
  use mpi_f08
  implicit none
  integer :: rank, ranks, right, left, code, index, whole(3) = 1
  type(MPI_Comm) :: half
  type(MPI_Datatype) :: triple
  type(MPI_Request) :: requests(2)
  type(MPI_Status) :: status
  double precision :: numbers(64), results(64) = 0
  character(len=1000) :: path, text, line
  include 'body.inc'
