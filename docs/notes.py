"""Texts that stand under fields and values in source code: what the documents print beside them."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType


def source_notes(module: ModuleType) -> dict[tuple[str, str], str]:
    """Return the texts that stand under fields and values of a module's classes, by (class, field)."""
    notes = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            for target, text in zip(node.body, node.body[1:], strict=False):
                name = _target_name(target)
                if name and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
                    notes[node.name, name] = " ".join(text.value.value.replace("``", "`").split())
    return notes


def _target_name(node: ast.stmt) -> str:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""
