"""The tree is the diagram: a module imports only what stands above its own line here."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("serving_site", "mlmodels", "predictions")

# Each line may import itself and the lines above. A name stands for the module and everything below it that has no
# line of its own. A new module gets a line, or a place in one.
LAYERS = [
    "serving_site serving_site.logs serving_site.storage_url",
    "serving_site.settings",
    "serving_site.words",
    "serving_site.charts",
    "serving_site.postgresql",
    (
        "serving_site.broker serving_site.errors serving_site.storage serving_site.storage_s3 serving_site.outages "
        "serving_site.uploads"
    ),
    "serving_site.jobs",
    "serving_site.accounts",
    "serving_site.files serving_site.health serving_site.banner",
    "mlmodels",
    (
        "mlmodels.signature mlmodels.signature_outputs mlmodels.signature_rules mlmodels.signature_wording "
        "mlmodels.signature_change"
    ),
    "mlmodels.ink mlmodels.architectures mlmodels.measures",
    "mlmodels.executor",
    "mlmodels.datasets",
    "mlmodels.training",
    "mlmodels.models",
    "mlmodels.gitobjects",
    "mlmodels.manifests mlmodels.artifacts mlmodels.registry mlmodels.pushes",
    "mlmodels.snapshots mlmodels.creation",
    "mlmodels.runtime",
    "mlmodels.trials",
    "mlmodels.evaluations",
    "mlmodels.gate mlmodels.gate_checks",
    "mlmodels.gate_run",
    "mlmodels.release_gate",
    "mlmodels.releases",
    "mlmodels.replays",
    "mlmodels.patience mlmodels.deliveries",
    "mlmodels.training_runs",
    "mlmodels.tasks",
    "mlmodels.apps",
    "mlmodels.admin mlmodels.management",
    "predictions",
    "predictions.models",
    "predictions.pictures predictions.uploads",
    "predictions.evidence",
    "predictions.inference",
    "predictions.counting",
    "predictions.tasks",
    "predictions.dispatch",
    "predictions.apps",
    "predictions.about predictions.display predictions.history predictions.lineage",
    "predictions.forms",
    (
        "predictions.templatetags predictions.views predictions.prediction_views predictions.urls predictions.admin "
        "predictions.management"
    ),
    "serving_site.metrics",
    "serving_site.urls serving_site.wsgi",
    "serving_site.keeping",
]
RANKS = {name: rank for rank, line in enumerate(LAYERS) for name in line.split()}

# What runs in or beside the executor and the trainer knows neither Django nor the site.
PURE = (
    "mlmodels.signature", "mlmodels.ink", "mlmodels.architectures", "mlmodels.measures", "mlmodels.executor",
    "mlmodels.datasets", "mlmodels.training",
)  # fmt: skip
KEEPS_CHILDREN = "mlmodels.training_runs"
"""It stands on the site's side of the children that it starts."""
MODEL_PACKAGES = {"boto3", "numpy", "safetensors", "scipy", "sklearn", "torch"}


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def product_modules() -> dict[str, Path]:
    files = (path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
    return {module_name(path): path for path in sorted(files) if "migrations" not in path.parts}


MODULES = product_modules()


def line_of(module: str) -> str:
    """The longest name of the table that the module stands at or below."""
    name = module
    while name not in RANKS:
        name, _, rest = name.rpartition(".")
        if not rest:
            raise LookupError(module)
    return name


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, inside functions too, with its line number."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}:{node.lineno} imports by a relative name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else node.module


def wrong_imports(module: str, path: Path) -> list[str]:
    rank = RANKS[line_of(module)]
    return [
        f"{path.relative_to(REPOSITORY)}:{line} imports {name}, which stands below {line_of(module)}"
        for line, name in imports(path)
        if name.split(".")[0] in PACKAGES and RANKS[line_of(name)] > rank
    ]


def test_each_module_imports_only_what_stands_above_it() -> None:
    wrong = [sentence for module, path in MODULES.items() for sentence in wrong_imports(module, path)]
    assert wrong == [], "\n".join(wrong)


def test_each_module_has_a_place_of_its_own_in_the_table() -> None:
    homeless = [module for module in MODULES if line_of(module) in PACKAGES and module not in PACKAGES]
    assert homeless == []


def test_models_never_name_predictions() -> None:
    naming = [
        str(path.relative_to(REPOSITORY))
        for module, path in MODULES.items()
        if module.split(".")[0] == "mlmodels" and "predictions." in path.read_text()
    ]
    assert naming == []


@pytest.mark.parametrize("prefix", PURE)
def test_what_runs_models_imports_neither_django_nor_the_site(prefix: str) -> None:
    wrong = [
        f"{module}:{line} imports {name}"
        for module, path in MODULES.items()
        if line_of(module).startswith(prefix) and line_of(module) != KEEPS_CHILDREN
        for line, name in imports(path)
        if name.split(".")[0] in {"django", "dramatiq", "serving_site", "predictions"}
        or (name.startswith("mlmodels.") and not name.startswith(PURE))
    ]
    assert wrong == []


def test_the_web_process_loads_its_urls_without_torch(tmp_path: Path) -> None:
    code = (
        "import django, sys; django.setup(); from django.urls import get_resolver; get_resolver().url_patterns; "
        f"print(*sorted({MODEL_PACKAGES!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={"DJANGO_SETTINGS_MODULE": "serving_site.settings", "DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("", "", 0)


def role_of(module: str) -> str:
    """Which requirements a module may use: those of the leanest host that imports it."""
    if module.startswith("mlmodels.training") and line_of(module) != KEEPS_CHILDREN:
        return "train"
    if module == "serving_site.storage_s3":
        return "s3"
    return "worker" if module.startswith(("mlmodels.architectures", "mlmodels.ink", "mlmodels.executor")) else "web"


def declared(role: str) -> set[str]:
    """The distributions that a role asks for by name, with those of the roles below it."""
    if role == "s3":
        return {*declared("web"), "django-storages", "boto3", "botocore"}  # the last two: its extra of that name
    wanted = {"torch"} if role != "web" else set()
    for line in (REPOSITORY / "requirements" / f"{role}.in").read_text().splitlines():
        if line.startswith("-r "):
            wanted |= declared(line.removeprefix("-r ").removesuffix(".in"))
        elif line and not line.startswith("#"):
            wanted.add(re.split(r"[\[=; ]", line)[0])
    return wanted


def test_each_module_imports_only_packages_that_its_host_installs() -> None:
    distributions = packages_distributions()
    undeclared = {
        f"{module} imports {name}, which {role_of(module)}.in does not name"
        for module, path in MODULES.items()
        for _, whole in imports(path)
        if (name := whole.split(".")[0]) not in (*PACKAGES, *sys.stdlib_module_names)
        and not {one.lower().replace("_", "-") for one in distributions.get(name, [])} & declared(role_of(module))
    }
    assert undeclared == set()
