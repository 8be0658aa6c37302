# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's side of the module: refuses bad options before a host is contacted, and analyses what came back."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

from ..module_utils.probe.errors import OptionError, RecordError
from ..module_utils.task_options import ON_CONTROLLER, requests_of
from ..plugin_utils.analysis import MISSING, VARIABLE, analysed, naming_of
from ..plugin_utils.inventory import devices_of


class ActionModule(ActionBase):  # type: ignore[misc]  # published without types
    """Runs ``netprobe.path.tcptraceroute`` on the host of the task."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the options, run the module, and analyse its traces; see ActionBase."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        variables = task_vars or {}
        problems: list[str] = []
        naming = None
        try:
            requests_of(self._task.args)
        except OptionError as error:
            problems += error.problems
        try:
            naming = None if MISSING else self._naming(variables)
        except OptionError as error:
            problems += error.problems
        if problems:
            return {**result, "failed": True, "msg": "; ".join(problems)}
        apart = bool(self._task.async_val)
        result.update(
            self._execute_module(
                module_name="netprobe.path.tcptraceroute",
                module_args={name: value for name, value in self._task.args.items() if name not in ON_CONTROLLER},
                task_vars=task_vars,
                wrap_async=apart,
            )
        )
        if apart:
            # What async_status fetches is the module's result, which this process does not see any more.
            self._display.warning("Hops of an asynchronous trace are not analysed: the filter netprobe.path.analysis does it")
            return result
        if not result.get("hops") and not result.get("traces"):
            return result
        if MISSING:
            self._display.warning(MISSING)
            return result
        try:
            result, warnings = analysed(result, naming)
        except RecordError as error:
            self._display.warning(f"Hops are not analysed: {error}")
            return result
        if warnings:
            result["warnings"] = [*result.get("warnings", ()), *warnings]
        return result

    def _naming(self, variables: dict[str, Any]) -> Any:
        """What is known of addresses: by options of the task, else by variables, and by the inventory."""
        told = {}
        for name in ON_CONTROLLER:
            variable = f"{VARIABLE}{name}"
            if self._task.args.get(name) is not None:
                told[name] = self._task.args[name]
            elif variables.get(variable) is not None:
                told[variable] = self._templar.template(variables[variable])
        return naming_of(told, devices_of(variables["hostvars"]))
