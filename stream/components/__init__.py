"""Quality components of a face, named after ISO/IEC 29794-5. Not conformant: not checked against OFIQ.

Each is one function with its formula and source in its docstring, 0–100, higher is better; angles end in
`_deg`. `Profile` says what a use requires of them, `Measured` is the Assessor that computes them.
"""

from .assessor import COMPONENTS, DEGREES, Measured
from .profile import SHIPPED, Profile, Requirement, read_profile

CONFORMANT = False
"""Whether the components have been checked against the standard's reference software."""

__all__ = [
    "COMPONENTS",
    "CONFORMANT",
    "DEGREES",
    "SHIPPED",
    "Measured",
    "Profile",
    "Requirement",
    "read_profile",
]
