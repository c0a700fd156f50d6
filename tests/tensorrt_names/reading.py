"""Which names of TensorRT a source file uses, found in its syntax tree."""

import ast
from dataclasses import dataclass, field
from pathlib import Path

MODULE = ""
"""Stands for the module itself where a class is asked for."""
_ROOT = "trt"
_OF_THE_MODULE = {"TensorRT": "every", "TensorRTForRTX": "rtx"}
_RENAMED = {"RtxBuilderConfig": ("IBuilderConfig", "rtx")}


@dataclass(frozen=True)
class Use:
    """``owner.name``, and which releases must have it: ``every``, ``rtx`` (alone) or ``some`` of them."""

    owner: str
    name: str
    needed: str
    where: str


@dataclass
class _Reader(ast.NodeVisitor):
    file: str
    protocols: bool
    """Whether protocols stand for TensorRT's classes, as they do in ``api.py``."""
    uses: list[Use] = field(default_factory=list)
    needed: str = "every"
    aliases: dict[str, list[str]] = field(default_factory=dict)
    dictionaries: dict[str, ast.Dict] = field(default_factory=dict)

    def add(self, path, node, needed=None):
        for depth, name in enumerate(path):
            if not name.startswith("__"):
                where = f"{self.file}:{node.lineno}"
                self.uses.append(Use(".".join(path[:depth]), name, needed or self.needed, where))

    def path_of(self, node):
        """Names from the module down to ``node``, or ``None`` where it does not begin there."""
        names = []
        while isinstance(node, ast.Attribute):
            names.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        if node.id == _ROOT:
            return names
        return self.aliases[node.id] + names if node.id in self.aliases else None

    def visit_FunctionDef(self, node):
        outer = self.needed, dict(self.aliases), dict(self.dictionaries)
        annotations = {ast.unparse(entry.annotation) for entry in node.args.args if entry.annotation}
        if "TensorRTForRTX" in annotations:
            self.needed = "rtx"
        self.generic_visit(node)
        self.needed, self.aliases, self.dictionaries = outer

    def visit_Assign(self, node):
        target = node.targets[0]
        if isinstance(target, ast.Name):
            path = self.path_of(node.value)
            if path and isinstance(node.value, ast.Attribute):
                self.aliases[target.id] = path
            if isinstance(node.value, ast.Dict):
                self.dictionaries[target.id] = node.value
        self.generic_visit(node)

    def visit_Attribute(self, node):
        path = self.path_of(node)
        if path:
            self.add(path, node)
        else:
            self.generic_visit(node)

    def visit_Call(self, node):
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in {"getattr", "hasattr"} and (path := self.path_of(node.args[0])) is not None:
            self.add(path, node)
            self.uses.append(Use(".".join(path), ast.literal_eval(node.args[1]), "some", self.file))
            return
        if called == "type" and len(node.args) == 3:
            self.subclass(*node.args[1:])
        self.generic_visit(node)

    def subclass(self, bases, methods):
        """``type(name, (trt.ILogger,), {"log": log})``: what is overridden has to be there."""
        methods = self.dictionaries.get(methods.id) if isinstance(methods, ast.Name) else methods
        for base in bases.elts:
            path = self.path_of(base)
            if path:
                for key in methods.keys:
                    self.add([*path, key.value], key)

    def visit_ClassDef(self, node):
        """A protocol of ``api.py``: each of its members is a name of the class that it stands for."""
        if not self.protocols or "Protocol" not in {ast.unparse(base) for base in node.bases}:
            self.generic_visit(node)
            return
        if node.name in _OF_THE_MODULE:
            owner, needed = MODULE, _OF_THE_MODULE[node.name]
        else:
            owner, needed = _RENAMED.get(node.name, (node.name, "every"))
            self.add([owner], node, needed)
        for member in node.body:
            if isinstance(member, ast.FunctionDef):
                self.add([*([owner] if owner else []), member.name], member, needed)
            elif isinstance(member, ast.AnnAssign):
                self.add([*([owner] if owner else []), member.target.id], member, needed)


def names_used(source: str, file: str = "api.py") -> list[Use]:
    reader = _Reader(file, protocols=file == "api.py")
    reader.visit(ast.parse(source))
    return reader.uses


def names_used_in(folder: Path) -> list[Use]:
    return [use for path in sorted(folder.rglob("*.py")) for use in names_used(path.read_text(), path.name)]
