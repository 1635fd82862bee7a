"""Command-line options from pydantic models: the field is the option, its description the help text.

What the user typed reaches the model as text where the model converts text itself; comma lists and JSON are
decoded here, because pydantic does not.
"""

from __future__ import annotations

import enum
import json
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import rich_click as click
from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from adair_core.errors import UsageError, expected
from adair_core.plugins import parse_config
from adair_core.specs import Choice

_LISTS = (tuple, list, set, frozenset)


ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Group:
    """The options that stand for one model.

    Attributes:
        role: prefix of the options, ``--role.field``; also of the parameters, ``role__field``.
        model: the fields.
        title: heading in ``--help``.
        plain: the options have no prefix: ``--field``.
        defaults: defaults that differ from the model's, for ``--help``.
        without: fields that get no option here.
        names: fields whose option has another name: field -> name without dashes.
        repeated: fields whose option is given once for each element.
    """

    role: str
    model: type[BaseModel]
    title: str
    plain: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    repeated: frozenset[str] = frozenset()

    def option_name(self, name: str) -> str:
        """How the user writes a field."""
        option = self.names.get(name, name.replace("_", "-"))
        return f"--{option}" if self.plain else f"--{self.role}.{option}"

    def options(self) -> list[click.RichOption]:
        """The click options, all optional, ``None`` when they are not given."""
        return [self._option(name, info) for name, info in self.model.model_fields.items() if name not in self.without]

    def given(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Field name -> value of the options that the user gave.

        Raises:
            UsageError: JSON that does not parse, or the name of a file that is empty.
        """
        values = {}
        for name, info in self.model.model_fields.items():
            value = parameters.get(f"{self.role}__{name}")
            if value is None or value == ():
                continue
            shape = _Shape.of(self.model, name, info)
            if Path in (shape.annotation, *get_args(shape.annotation)):
                refuse_empty(self.option_name(name), value)
            if name not in self.repeated and isinstance(value, str):
                try:
                    value = shape.decode(value)
                except json.JSONDecodeError as error:
                    raise UsageError(
                        expected(self.option_name(name), expected="JSON", got=repr(value), hint=str(error))
                    ) from error
            values[name] = value
        return values

    def parse(self, model: type[ModelT], values: Mapping[str, Any]) -> ModelT:
        """Validate values; errors name the options.

        Args:
            model: the group's, or one with the same fields.
            values: field name -> value.

        Raises:
            UsageError: names the options that are wrong.
        """
        return parse_config(model, values, what=self.title, label=self.option_name)

    def choice(self, name: str, options: Mapping[str, Any], preset: Mapping[str, Any] | None = None) -> Choice:
        """Validate options and resolve all of them, in the form of a recipe: defaults may change, a recipe must not.

        Args:
            name: of the plugin's thing.
            options: that were given.
            preset: options under them.

        Raises:
            UsageError: names the options that are wrong.
        """
        config = self.parse(self.model, {**(preset or {}), **options})
        return Choice(name=name, options=config.model_dump(mode="json"))

    def _option(self, name: str, info: FieldInfo) -> click.RichOption:
        shape = _Shape.of(self.model, name, info)
        default = self.defaults.get(name, info.get_default(call_default_factory=True, validated_data={}))
        help_text = info.description or name.replace("_", " ")
        if default is PydanticUndefined:
            help_text += " [required]"
        elif shape.is_flag:
            help_text += f" [default: {'on' if default else 'off'}]"
        elif name not in self.repeated and default != ():
            help_text += f" [default: {shown(default)}]"
        option = self.option_name(name)
        parameter = f"{self.role}__{name}"
        if shape.is_flag:
            negative = f"--no-{option[2:]}" if self.plain else f"--{self.role}.no-{option.partition('.')[2]}"
            return click.RichOption(
                [f"{option}/{negative}", parameter], default=None, help=help_text, panel=self.title, is_flag=True
            )
        kind: Any = click.Choice(shape.choices) if shape.choices and name not in self.repeated else str
        return click.RichOption(
            [option, parameter],
            type=kind,
            multiple=name in self.repeated,
            metavar=None if shape.choices else (shape.element if name in self.repeated else shape).metavar,
            help=help_text,
            panel=self.title,
        )


def refuse_empty(name: str, value: Any) -> None:
    """Refuse an empty text, or several of which one is empty.

    To pathlib an empty name is the current folder: all images in it would be restored, or trained on.

    Raises:
        UsageError: names the option.
    """
    if isinstance(value, (list, tuple)):
        for item in value:
            refuse_empty(name, item)
    elif value == "":
        hint = "is a variable of the shell not set?"
        raise UsageError(expected(name, expected="a value", got="an empty one", hint=hint))


def shown(value: object) -> str:
    """A value as the user would type it.

    >>> shown((5.0, 55.0)), shown(None), shown(1e-06)
    ('5,55', 'none', '1e-06')
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, (BaseModel, Mapping)):
        return json.dumps(to_jsonable_python(value))
    if isinstance(value, _LISTS):
        if any(isinstance(item, (BaseModel, Mapping, *_LISTS)) for item in value):
            return json.dumps(to_jsonable_python(value))
        return ",".join(shown(item) for item in value)
    return str(value)


@dataclass(frozen=True)
class _Shape:
    """What a field's text looks like.

    Attributes:
        annotation: the type, without Annotated and without None.
        optional: ``none`` stands for None.
        reads_text: the model converts the text itself.
    """

    annotation: Any
    optional: bool
    reads_text: bool

    @classmethod
    def of(cls, model: type[BaseModel], name: str, info: FieldInfo) -> _Shape:
        validators = model.__pydantic_decorators__.field_validators.values()
        reads_text = any(
            validator.info.mode != "after" and (name in validator.info.fields or "*" in validator.info.fields)
            for validator in validators
        )
        return cls.from_type(info.annotation, reads_text or _converts(info.metadata))

    @classmethod
    def from_type(cls, annotation: Any, reads_text: bool = False) -> _Shape:
        annotation, metadata = _bare(annotation)
        reads_text = reads_text or _converts(metadata)
        if get_origin(annotation) in (Union, types.UnionType):
            members = [_bare(member) for member in get_args(annotation)]
            others = [(member, notes) for member, notes in members if member is not type(None)]
            optional = len(others) < len(members)
            if len(others) == 1:
                return cls(others[0][0], optional, reads_text or _converts(others[0][1]))
            return cls(annotation, optional, reads_text)
        return cls(annotation, False, reads_text)

    @property
    def is_flag(self) -> bool:
        return self.annotation is bool and not self.optional and not self.reads_text

    @property
    def is_list(self) -> bool:
        return (get_origin(self.annotation) or self.annotation) in _LISTS

    @property
    def is_json(self) -> bool:
        kinds = get_args(self.annotation) if self.is_list else (self.annotation,)
        return any(_nested(kind) for kind in kinds)

    @property
    def values(self) -> tuple[Any, ...]:
        """The values of a Literal or an Enum."""
        if get_origin(self.annotation) is Literal:
            return get_args(self.annotation)
        if isinstance(self.annotation, type) and issubclass(self.annotation, enum.Enum):
            return tuple(member.value for member in self.annotation)
        return ()

    @property
    def choices(self) -> list[str]:
        names = [str(value) for value in self.values]
        return [*names, "none"] if names and self.optional else names

    @property
    def element(self) -> _Shape:
        """The shape of a list's elements."""
        return _Shape.from_type(get_args(self.annotation)[0])

    @property
    def metavar(self) -> str:
        if self.is_json:
            return "TEXT" if self.reads_text else "JSON"
        if self.annotation == tuple[float, float]:
            return "LOW,HIGH"
        if self.is_list:
            return "A,B,..."
        return {int: "N", float: "X", Path: "PATH"}.get(self.annotation, "TEXT")

    def decode(self, text: str) -> Any:
        """Text -> what the model takes.

        Raises:
            json.JSONDecodeError: a nested value that is not JSON.
        """
        if self.optional and text.lower() == "none":
            return None
        if self.values:
            return next((value for value in self.values if str(value) == text), text)
        if text.startswith(("{", "[")) and (self.is_json or self.is_list):
            return json.loads(text)
        if self.reads_text:
            return text
        if self.is_json:
            return {"name": text} if self.annotation is Choice else json.loads(text)
        if self.is_list:
            kinds = [kind for kind in get_args(self.annotation) if kind is not Ellipsis]
            parts = [part.strip() for part in text.split(",")] if text else []
            return [
                _Shape.from_type(kinds[min(i, len(kinds) - 1)] if kinds else str).decode(part)
                for i, part in enumerate(parts)
            ]
        return text


def _bare(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return inner, tuple(metadata)
    return annotation, ()


def _converts(metadata: Iterable[Any]) -> bool:
    return any(hasattr(note, "func") and not isinstance(note, AfterValidator) for note in metadata)


def _nested(annotation: Any) -> bool:
    annotation = get_origin(_bare(annotation)[0]) or _bare(annotation)[0]
    if not isinstance(annotation, type):
        return False
    return issubclass(annotation, (BaseModel, Mapping, *_LISTS))
