"""The same interface for Fortran, by its standard module iso_c_binding."""

from fastgate.c.assembly import Assembled

MODULE = """\
! {name}: the interface of {name}.h for Fortran 2003. Compile {name}.c with a C compiler and link both.
!
!    type({name}_state) :: state
!    call {name}_init(state)
!    {call}
module {name}
  use, intrinsic :: iso_c_binding
  implicit none
  integer, parameter :: {name}_{first} = {count}, {name}_outputs = {outputs}

  type, bind(c) :: {name}_state
{members}  end type

  interface
    subroutine {name}_init(state) bind(c, name="{name}_init")
      import :: {name}_state
      type({name}_state), intent(out) :: state
    end subroutine

{step}  end interface
end module
"""
STEP = """\
    subroutine {name}_step(state, x, y) bind(c, name="{name}_step")
      import :: {name}_state, {real}
      type({name}_state), intent(inout) :: state
      real({real}), intent(in) :: x({count})
      real({real}), intent(out) :: y({outputs})
    end subroutine
"""
STEP_OF_NUMBER = """\
    ! 0; or 1 if the number is out of range, from 0 to {name}_numbers - 1
    integer(c_int) function {name}_step(state, number, y) bind(c, name="{name}_step")
      import :: {name}_state, {real}, c_int, c_int32_t
      type({name}_state), intent(inout) :: state
      integer(c_int32_t), value :: number
      real({real}), intent(out) :: y({outputs})
    end function
"""


def fortran(found: Assembled, name: str) -> str:
    """The module's text."""
    real = f"c_{found.program.real}"
    members = [f"real({real}) :: {kind}_{part.name}({size}, {rows})" for kind, part, rows, size in found.states]
    count = found.parts[0].layer.num_embeddings if found.takes_number else found.inputs
    step = STEP_OF_NUMBER if found.takes_number else STEP
    return MODULE.format(
        name=name,
        call=f"error = {name}_step(state, number, y)" if found.takes_number else f"call {name}_step(state, x, y)",
        first="numbers" if found.takes_number else "inputs",
        count=count,
        outputs=found.outputs,
        members="".join(f"    {member}\n" for member in members or ["character(c_char) :: nothing"]),
        step=step.format(name=name, real=real, count=count, outputs=found.outputs),
    )
