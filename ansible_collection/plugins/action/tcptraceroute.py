# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's side of the module: refuses bad options before a host is contacted, and labels what came back."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..module_utils.probe.errors import OptionError
from ..module_utils.task_options import requests_of
from ..plugin_utils.network_kinds import MISSING, with_network_kinds


class ActionModule(ActionBase):  # type: ignore[misc]  # published without types
    """Runs ``netprobe.path.tcptraceroute`` on the host of the task."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the options, run the module, and label its hops; see ActionBase."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        try:
            requests_of(self._task.args)
        except OptionError as error:
            return {**result, "failed": True, "msg": "; ".join(error.problems)}
        apart = bool(self._task.async_val)
        result.update(
            self._execute_module(
                module_name="netprobe.path.tcptraceroute",
                module_args=self._task.args,
                task_vars=task_vars,
                wrap_async=apart,
            )
        )
        if apart:
            # What async_status fetches is the module's result, which this process does not see any more.
            self._display.warning(
                "Hops of an asynchronous trace carry no network_kind: the filter netprobe.path.network_kinds adds it"
            )
            return result
        if not result.get("hops") and not result.get("traces"):
            return result
        if MISSING:
            self._display.warning(MISSING)
            return result
        return with_network_kinds(result)
