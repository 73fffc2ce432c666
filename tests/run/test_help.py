"""``--help``: each key is explained, from the comments in ``conf/``, and a key of the other command is sent there."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dlntorch.cli.help import study_help, train_help
from dlntorch.cli.study_command import main
from dlntorch.run.configuration import config_directory, group_options, known_keys
from dlntorch.run.explained_keys import chosen_by_default, explain_file, explain_group, root_keys

GROUPS = [*chosen_by_default(), "study"]


def values_of(file, prefix=""):
    """The keys that a file sets, as YAML has them: nested ones with a dot."""
    found = {}
    for key, value in (yaml.safe_load(file.read_text()) or {}).items():
        if key in ("defaults", "hydra", "small_version") or (key == "name" and prefix):
            continue
        found[prefix + key] = value
        if isinstance(value, dict):
            found |= {f"{prefix}{key}.{inner}": one for inner, one in value.items()}
    return found


def files():
    conf = config_directory()
    yield from ((conf / f"{command}.yaml", "") for command in ("train", "study"))
    for group in GROUPS:
        yield from ((conf / group / f"{name}.yaml", f"{group}.") for name in group_options(group))


@pytest.mark.parametrize(("file", "prefix"), [*files()], ids=lambda value: getattr(value, "stem", ""))
def test_each_key_has_its_explanation_and_the_default_of_the_file(file, prefix):
    keys = {key.name: key for key in explain_file(file, prefix).keys}
    values = values_of(file, prefix)
    assert keys.keys() == values.keys()
    for name, key in keys.items():
        if prefix != "experiment.":  # an experiment sets keys that are explained where they belong
            assert len(key.meaning) > 3, f"{file}: {name} has no comment that explains it"
        if key.default:
            assert yaml.safe_load(key.default) == values[name]
    if prefix:
        assert explain_file(file, prefix).about, f"{file} does not begin with what choosing it means"


def test_train_help_has_all_that_the_command_takes_and_nothing_else(command):
    done = command("--help")
    assert done.status == 0
    text = done.out
    for key in root_keys():
        assert f"  {key.name}" in text
    heads = [line.split("=")[0].split(":")[0] for line in text.splitlines() if line.startswith((*GROUPS,))]
    assert heads == [group for group in chosen_by_default() if group != "study"]
    for group in chosen_by_default():
        for choice in explain_group(group):
            assert f"  {choice.name} " in text or len(explain_group(group)) == 1
    named = [
        word.split("=")[0] for line in text.splitlines() for word in line.split()[:1] if "." in word and "=" in word
    ]
    assert {name for name in named if not name.endswith(".NAME")} <= set(known_keys())
    assert "study=figure1" not in text


def test_the_keys_of_a_choice_are_shown_where_it_is_named(command):
    text = command("problem=digits", "schedule=certified", "--help").out
    assert "problem.nonzeros=10" in text
    assert "schedule.epsilon=1e-2" in text
    assert "problem.n=30" not in text
    wrong = command("problem=digit", "-h")
    assert wrong.status == 2
    assert "problem must be one of" in wrong.err
    assert "did you mean digits?" in wrong.err


@given(st.integers(20, 220))
def test_no_line_is_longer_than_the_terminal(width):
    for text in (train_help([], width), study_help([], width), study_help(["study=conditioning"], width)):
        for line in text.splitlines():
            assert len(line) <= max(width, 50) or len(line.split()) == 1 or line.lstrip().startswith("python ")


def test_study_help_names_every_study(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for choice in explain_group("study"):
        assert f"  {choice.name} " in text
    for key in root_keys("study"):
        assert f"  {key.name}=" in text
    assert main(["study=depth", "--help"]) == 0
    assert "study.p_max=12" in capsys.readouterr().out


@pytest.mark.parametrize("argument", ["study=figure1", "+study=figure1", "folder=x", "workers=2", "study.small=true"])
def test_a_key_of_the_studies_is_sent_to_their_command(command, argument):
    done = command(argument)
    key = argument.split("=")[0].lstrip("+")
    assert done.status == 2
    expected = (
        f"error: unknown key '{key}': it belongs to the command python -m dlntorch, see python -m dlntorch --help\n"
    )
    assert done.err == expected


@pytest.mark.parametrize(
    "arguments", [["p=3"], ["study=figure1", "p=3"], ["problem.m=3"], ["study=figure1", "problem.m=3"]]
)
def test_a_key_of_the_main_job_is_sent_to_its_command(capsys, arguments):
    assert main(arguments) == 2
    key = arguments[-1].split("=")[0]
    line = f"error: unknown key '{key}': it belongs to the command python train.py, see python train.py --help\n"
    assert capsys.readouterr().err == line


def test_a_forgotten_group_is_nearer_than_the_other_command(capsys):
    assert main(["study=benchmark", "p=3"]) == 2
    assert "unknown key 'p'; did you mean study.p?" in capsys.readouterr().err


def test_options_are_understood_wherever_they_stand_and_refused_in_one_line(command):
    text = command("p=2.5", "--cfg", "job", "alpha=0.2").out
    assert "p: 2.5" in text
    assert "alpha: 0.2" in text
    for words, said in {
        ("p=2", "--foo"): "options must be those of Hydra: unrecognized arguments: --foo",
        ("--cfg", "nothing"): "options must be those of Hydra: argument --cfg/-c: invalid choice",
        ("-p=2",): "p must be set without dashes, as p=VALUE, got '-p=2'",
        ("--alpha=2",): "alpha must be set without dashes, as alpha=VALUE, got '--alpha=2'",
    }.items():
        done = command(*words)
        assert done.status == 2
        assert done.err.startswith(f"error: {said}")
        assert done.err.count("\n") == 1
