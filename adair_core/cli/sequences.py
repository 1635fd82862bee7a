"""What ``adair restore`` does: one restoration, or ``--task a,b`` one after the other, with the options of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from adair_core.cli.choices import adapter_choosing_group, task_group, task_parameters, trained_adapter
from adair_core.cli.models import Loaded, adapter_for_task, base_for, load_model, read_trained
from adair_core.cli.options import Group
from adair_core.cli.output import say
from adair_core.errors import BaseMismatchError, UsageError, expected, listing
from adair_core.plugins import plugins

if TYPE_CHECKING:
    from adair_core.inference import Step
    from adair_core.model import RestorationModel


AUTO = "auto"
"""In place of tasks: what each image needs; see `adair_core.cli.automatic`."""


@dataclass(frozen=True)
class Restorations:
    """A network and what it does, one step after the other.

    Attributes:
        model: on its device, with all adapters that the steps need.
        title: base and adapters, in a few words.
        steps: one for each task.
    """

    model: RestorationModel
    title: str
    steps: tuple[Step, ...]


def task_names(text: str | None) -> tuple[str, ...]:
    """Read ``--task``: names with commas between them; none if it was not given.

    Raises:
        UsageError: an element is empty, or `AUTO`.
        UnknownNameError: no plugin offers a task.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        wanted = "a task, or several with commas between them, such as derain,denoise"
        raise UsageError(expected("--task", expected=wanted, got=repr(text)))
    if AUTO in names:
        raise UsageError(expected("--task", expected=f"{AUTO} alone, or tasks by their names", got=repr(text)))
    for name in names:
        plugins().task(name)
    return names


def task_groups(names: Sequence[str]) -> list[Group]:
    """The options of the tasks by which the zoo's adapters differ, each option once."""
    groups: list[Group] = []
    seen: frozenset[str] = frozenset()
    for name in dict.fromkeys(names):
        group = adapter_choosing_group(name, plugins().task(name))
        groups.append(replace(group, without=group.without | seen))
        seen |= _offered(group)
    return groups


def options_of_tasks(names: Sequence[str], parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options for each task by which the zoo's adapter for it is chosen, and its scale.

    An option of a sequence goes to the task that has it.

    Raises:
        UsageError: a value is not valid, several tasks have the option, or none of several has a scale.
    """
    groups = {name: adapter_choosing_group(name, plugins().task(name)) for name in names}
    scale = parameters["scale"]
    enlarging = [name for name, group in groups.items() if "scale" in group.model.model_fields]
    if scale is not None and len(groups) > 1:
        _refuse_several("--scale", enlarging)
        if not enlarging:
            hint = "it is for super-resolve"
            raise UsageError(expected("--scale", expected="a task that enlarges", got=listing(names), hint=hint))
    for name, group in groups.items():
        for field in _offered(group).intersection(group.given(parameters)):
            _refuse_several(task_group(name, plugins().task(name)).option_name(field), _having(field, groups))
    return [_options(groups[name], parameters) for name in names]


def strengths(text: str, names: Sequence[str]) -> list[float]:
    """Read ``--strength``: one number for all tasks, or one for each.

    Raises:
        UsageError: it is something else.
    """
    count = max(1, len(names))
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, count):
        wanted = "a number" if count == 1 else f"a number, or {count}, one for each task ({', '.join(names)})"
        raise UsageError(expected("--strength", expected=wanted, got=repr(text)))
    return values * count if len(values) == 1 else values


def load_restorations(
    parameters: Mapping[str, Any], names: Sequence[str], options: Sequence[Mapping[str, Any]], steps: Sequence[Step]
) -> Restorations:
    """Load the base, once, and the adapters that the tasks need.

    Args:
        parameters: of `adair_core.cli.models.model_options`, and ``scale``.
        names: of the tasks, one or none where there is one step.
        options: of each task.
        steps: with the strengths; what they are made with is filled in.

    Raises:
        UsageError: the options do not fit together, or the adapters are of several bases.
        AdairError: the weights cannot be used.
    """
    if len(names) > 1:
        return _load_sequence(parameters, names, options, steps)
    (task, given), (step,) = (names[0], options[0]) if names else (None, {}), steps
    if task is not None and "=" in (parameters["blend"] or ""):
        raise UsageError("--blend NAME=X names the adapters itself: leave --task out")
    loaded = load_model(parameters, task=task, task_options=given)
    if task is not None and loaded.task not in (None, task):
        say(f"the adapter was trained for task {loaded.task!r}, and --task {task} does not change it")
    scale = given.get("scale", parameters["scale"])
    return Restorations(loaded.model, loaded.title, (replace(step, scale=_scale(scale, task, loaded)),))


def _load_sequence(
    parameters: Mapping[str, Any], names: Sequence[str], options: Sequence[Mapping[str, Any]], steps: Sequence[Step]
) -> Restorations:
    from adair_core.model import load
    from adair_core.training.processes import Processes

    given = [trained_adapter(name) for name in parameters["adapters"]]
    if parameters["blend"] is not None:
        raise UsageError("--blend mixes adapters in one restoration, and --task names several: leave one of them out")
    if given and len(given) != len(names):
        wanted = f"{len(names)}, one for each task ({', '.join(names)}), or none"
        raise UsageError(expected("--adapter", expected=wanted, got=len(given)))
    if parameters["base"] is not None and not given:
        raise UsageError(f"--base: alone it does the same for each of {', '.join(names)}; give --adapter for each, too")
    wanted_adapters = given or [adapter_for_task(*each) for each in zip(names, options, strict=True)]
    files = {adapter: read_trained(adapter) for adapter in wanted_adapters}
    model = load(base_for(parameters["base"], files[wanted_adapters[0]]))
    loaded: dict[str, str] = {}
    for adapter, file in files.items():
        short = file.folder.resolve().name.partition("@")[0]
        name = short if short not in loaded.values() else f"{short} {len(loaded) + 1}"
        try:
            accepted = parameters["accept_unknown_base"]
            loaded[adapter] = model.load_adapter(adapter, name=name, accept_unknown_base=accepted)
        except BaseMismatchError as error:
            raise UsageError(f"--task {','.join(names)}: a sequence needs adapters of one base: {error}") from error
    made = []
    for step, task, adapter, chosen in zip(steps, names, wanted_adapters, options, strict=True):
        card = files[adapter].card
        trained = card.task_options if card.task == task else {}
        made.append(replace(step, adapters={loaded[adapter]: 1.0}, scale=_scale_of_task(chosen, task, trained)))
    title = f"{model.info.name} + {', then '.join(loaded[adapter] for adapter in wanted_adapters)}"
    return Restorations(model.to(Processes(parameters["device"]).device), title, tuple(made))


def _scale(given: int | None, task: str | None, loaded: Loaded) -> int:
    """The scale of ``--scale``, of the adapter's own training, or of the task's default."""
    if given is None and len(set(loaded.scales)) > 1:
        got = listing([f"{adapter}: {scale}" for adapter, scale in zip(loaded.adapters, loaded.scales, strict=True)])
        wanted = "how many times to enlarge, where the adapters were trained for different scales"
        raise UsageError(expected("--scale", expected=wanted, got=got))
    task = task or loaded.task
    if task is None or task not in plugins().tasks:
        return 1 if given is None else given
    if "scale" not in plugins().tasks[task].config.model_fields and given is not None:
        hint = "it is for super-resolve"
        raise UsageError(expected("--scale", expected="a task that enlarges", got=f"task {task!r}", hint=hint))
    options = {} if given is None else {"scale": given}
    return _scale_of_task(options, task, loaded.task_options if loaded.task == task else {})


def _scale_of_task(options: Mapping[str, Any], task: str, trained: Mapping[str, Any]) -> int:
    # A degradation that has a scale of its own, such as `downsample`, enlarges nothing.
    field = plugins().tasks[task].config.model_fields.get("scale") if task in plugins().tasks else None
    return 1 if field is None else int(options.get("scale") or trained.get("scale") or field.default)


def _options(group: Group, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What was given for a task; ``--scale`` alone is checked where it is used."""
    enlarges = "scale" in group.model.model_fields
    given = task_parameters(group, {**parameters, "scale": parameters["scale"] if enlarges else None})
    given = {name: value for name, value in given.items() if name in _offered(group) or name == "scale"}
    config = group.parse(group.model, given)
    return {name: getattr(config, name) for name in given}


def _offered(group: Group) -> frozenset[str]:
    return frozenset(group.model.model_fields) - group.without


def _having(field: str, groups: Mapping[str, Group]) -> list[str]:
    return [name for name, group in groups.items() if field in _offered(group)]


def _refuse_several(option: str, names: Sequence[str]) -> None:
    if len(names) > 1:
        hint = "restore in two runs, or give --adapter for each task, which says with what it was trained"
        raise UsageError(expected(option, expected="one task that has it", got=listing(names), hint=hint))
