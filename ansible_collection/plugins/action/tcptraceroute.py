# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's side of the module: refuses bad options before a host is contacted, and analyses what came back."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from ansible.plugins.action import ActionBase

from ..module_utils.probe.errors import OptionError, RecordError
from ..module_utils.probe.options import TraceOptions
from ..module_utils.task_options import JUDGING, NAMING, ON_CONTROLLER, requests_of
from ..plugin_utils.analysis import LATER, MISSING, VARIABLE, analysed, naming_of
from ..plugin_utils.expected import ASKING, Expected
from ..plugin_utils.inventory import devices_of

_MODULE = "netprobe.path.tcptraceroute"
_NOT_APART = (
    "an asynchronous task can't be judged: give the result of async_status to the filter netprobe.path.analysis, "
    "which takes expect, or do without async"
)


class ActionModule(ActionBase):  # type: ignore[misc]  # published without types
    """Runs ``netprobe.path.tcptraceroute`` on the host of the task."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the options, run the module, analyse its traces and judge them; see ActionBase."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        variables = task_vars or {}
        try:
            several, naming, expected = self._options(variables)
        except OptionError as error:
            return {**result, "failed": True, "msg": "; ".join(error.problems)}
        if expected.anything and not self._task.check_mode:
            result.update(expected.result(lambda asked: self._execute(asked, variables), several=several))
            self._show_differences(result)
            return result
        apart = bool(self._task.async_val)
        result.update(
            self._execute_module(
                module_name=_MODULE,
                module_args={name: value for name, value in self._task.args.items() if name not in ON_CONTROLLER},
                task_vars=task_vars,
                wrap_async=apart,
            )
        )
        if apart:
            # What async_status fetches is the module's result, which this process does not see any more.
            self._display.warning(LATER)
            return result
        return self._analysed(result, naming)

    def _options(self, variables: dict[str, Any]) -> tuple[bool, Any, Expected]:
        """Whether several traces are asked for, what is known of addresses, and what is expected of which traces.

        Raises:
            OptionError: every problem of all of them.
        """
        problems: list[str] = []
        requests: list[TraceOptions] = []
        naming, several = None, False
        told = {name: self._task.args[name] for name in JUDGING if self._task.args.get(name) is not None}
        try:
            requests, several = requests_of(self._task.args)
        except OptionError as error:
            problems += error.problems
        try:
            naming = None if MISSING else self._naming(variables)
        except OptionError as error:
            problems += error.problems
        if self._task.async_val:
            problems += [f"{name}: {_NOT_APART}" for name in ASKING if name in told]
        try:
            expected = Expected(told, requests, naming, str(variables.get("inventory_hostname")), self._loader.path_dwim)
        except OptionError as error:
            raise OptionError([*problems, *error.problems]) from None
        if problems:
            raise OptionError(problems)
        return several, naming, expected

    def _analysed(self, result: dict[str, Any], naming: Any) -> dict[str, Any]:
        """The module's result with what the controller makes of it."""
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

    def _execute(self, requests: Sequence[TraceOptions], variables: dict[str, Any]) -> dict[str, Any]:
        """The module's result for some requests, as a list of traces."""
        arguments: dict[str, Any] = {
            "destination": requests[0].destination,
            "requests": [request.to_dict() for request in requests],
            **{name: value for name, value in self._task.args.items() if name == "rate"},
        }
        return dict(self._execute_module(module_name=_MODULE, module_args=arguments, task_vars=variables))

    def _show_differences(self, result: dict[str, Any]) -> None:
        """Show with --diff what Ansible itself shows of nothing but changes: how a path differs from its baseline."""
        if not self._task.diff or self._task.no_log or result["changed"]:
            return
        differences = result.get("diff", [])
        for each in differences if isinstance(differences, list) else [differences]:
            before, after = (each[side].splitlines(keepends=True) for side in ("before", "after"))
            lines = difflib.unified_diff(before, after, each["before_header"], each["after_header"])
            self._display.display("".join(lines), stderr=True)

    def _naming(self, variables: dict[str, Any]) -> Any:
        """What is known of addresses: by options of the task, else by variables, and by the inventory."""
        told = {}
        for name in NAMING:
            variable = f"{VARIABLE}{name}"
            if self._task.args.get(name) is not None:
                told[name] = self._task.args[name]
            elif variables.get(variable) is not None:
                told[variable] = self._templar.template(variables[variable])
        return naming_of(told, devices_of(variables["hostvars"]))
