"""A trained model given to others, and taken from them: a repository on the Hugging Face hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulacra.ground.errors import CheckpointError, ResourceError, UsageError
from simulacra.models import description, saved
from simulacra.models.model import Model

if TYPE_CHECKING:
    from simulacra.runs.run import Run

CARD = "README.md"


def push_to_hub(
    run: Run, repository: str, *, private: bool = False, code: str | None = None
) -> str:
    """Upload a run's model: its weights, what it is, their checksums, and a card.

    Args:
        run: What trained it.
        repository: `owner/name`; it is made if it is not there.
        private: Whether only its owner sees it, if it is made.
        code: Of a model of one's own, where its class is: see `saved.load`. The class itself is
            not uploaded, and who takes the model needs it.

    Returns:
        The commit's address.

    Raises:
        CheckpointError: If the run has no sound checkpoint.
        UsageError: If huggingface_hub is not installed, or the name is none.
        ResourceError: If the hub cannot be reached, or refuses.

    Example:
        >>> import simulacra as sim
        >>> from simulacra.runs.zoo import run_of
        >>> run = run_of("pixelcnnpp-binarized-mnist")
        >>> sim.push_to_hub(run, "someone/digits")
        'https://huggingface.co/someone/digits/commit/...'
    """
    if repository.count("/") != 1:
        raise UsageError(f"a repository is called owner/name, got {repository!r}")
    model = run.model(code=code)
    with _hub(repository) as hub, tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        saved.save(model, folder, run.record["model"])
        (folder / CARD).write_text(_card(run, model), encoding="utf-8")
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="A model trained by simulacra"
        )
        return str(commit.commit_url)


def from_pretrained(
    repository: str, *, revision: str | None = None, code: str | None = None
) -> Model:
    """A model from the hub, or from a folder that `saved.save` wrote; in eval mode.

    Args:
        repository: `owner/name`, or the folder.
        revision: A branch, tag or commit of the repository.
        code: See `saved.load`: what is downloaded never chooses which code is run.

    Raises:
        CheckpointError: If it holds no model, or an altered one.
        UsageError: If huggingface_hub is not installed, or the name is none.
        ResourceError: If the hub cannot be reached and nothing was downloaded before.

    Example:
        >>> import simulacra as sim
        >>> model = sim.from_pretrained("someone/digits")
        >>> model.spec.event_shape
        (1, 28, 28)
    """
    if Path(repository).is_dir():
        return saved.load(Path(repository), code=code)
    with _hub(repository) as hub:
        folder = hub.snapshot_download(
            repository, revision=revision, allow_patterns=["*.json", "*.safetensors"]
        )
    # the hub's cache is of links, which a checkpoint is not to hold
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "model"
        copy.mkdir()
        for file in Path(folder).iterdir():
            if file.is_file():
                (copy / file.name).write_bytes(file.read_bytes())
        try:
            return saved.load(copy, code=code)
        except CheckpointError as error:
            text = str(error).replace(str(copy), repository)
            raise CheckpointError(f"{text} (is it a model of simulacra?)") from error


@contextmanager
def _hub(repository: str) -> Iterator[Any]:
    """The library, its errors in a user's words."""
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise UsageError("the hub needs huggingface_hub: pip install 'simulacra[hub]'") from error
    offline = (
        f"the Hugging Face hub cannot be reached for {repository}: check the network and "
        "HF_HUB_OFFLINE"
    )
    try:
        yield hub
    except errors.HFValidationError as error:
        raise UsageError(f"a repository is called owner/name, got {repository!r}") from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, ConnectionError) as error:
        raise ResourceError(offline) from error
    except errors.HfHubHTTPError as error:
        why = " ".join(str(error).split())
        raise ResourceError(f"the Hugging Face hub refused {repository}: {why}") from error
    except OSError as error:
        raise ResourceError(f"{offline} ({type(error).__name__})") from error
    except Exception as error:
        # the client library's own, below which the network's lie: httpx, and httpx2 after it
        if type(error).__module__.startswith(("httpx", "httpcore", "requests")):
            raise ResourceError(offline) from error
        raise


def _card(run: Run, model: Model) -> str:
    """What a reader has to know: the model, its data, and how to load it."""
    record = run.record
    about = description.describe_class(type(model), record["model"])
    lines = [
        "---",
        "library_name: simulacra",
        "tags: [generative-model, pytorch]",
        "---",
        "",
        f"# {about.class_name} on {record['data']['name']}",
        "",
        about.summary,
        "",
        f"- Paper: {about.paper or 'none'}",
        f"- Keywords: `{record['keywords']}`",
        f"- Data: {record['data']['name']}, fingerprint `{record['data']['fingerprint'][:16]}…`",
        f"- Seed {record['options']['seed']}, budget {record['budget']}",
        f"- Versions: {', '.join(f'{k} {v}' for k, v in record['versions'].items())}",
        "",
        "```python",
        "import simulacra as sim",
        "",
        'model = sim.from_pretrained("OWNER/NAME")',
        "```",
        "",
    ]
    return "\n".join(lines)
