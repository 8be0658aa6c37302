# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What every module of the collection has in common, as its documentation tells it."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment ``netprobe.path.attributes``."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what it would do without doing it.
  diff_mode:
    description: Will return details of what has changed, or what would change in C(check_mode), when in diff mode.
    support: N/A
    details: It changes nothing.
  async:
    description: Supports use with the C(async) keyword.
  platform:
    description: Operating systems that the module runs on.
    platforms: linux
    support: full
  action_group:
    description: Use C(group/netprobe.path.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - netprobe.path.all
"""
