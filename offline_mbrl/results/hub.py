"""A run's policies on the Hugging Face Hub, by the user's own login."""

import shutil
import tempfile
from pathlib import Path

from offline_mbrl.errors import UserError
from offline_mbrl.results.policies import card
from offline_mbrl.storage import records
from offline_mbrl.storage.files import write_text
from offline_mbrl.training.export import export_policies, own_variant
from offline_mbrl.training.job import read_job

KEPT = (records.JOB, records.ENVIRONMENT, records.SCORES)
"""Records that go along."""


def push(run: Path, repository: str, private: bool = False) -> str:
    """Uploads a run's policies with their card and scores, and returns the address.

    Raises:
      UserError: the package huggingface_hub is not there, nobody is logged in, or the Hub refuses.
    """
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    except ImportError as error:
        raise UserError("the Hub needs the package huggingface_hub; pip install 'offline-mbrl[hub]'") from error
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(run, Path(folder))
        api = HfApi(library_name="offline-mbrl")
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"Policies of {run.name}")
        except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"the Hub did not take {repository} ({reason}); log in with `hf auth login`") from error
    return str(done)


def write_bundle(run: Path, folder: Path) -> None:
    """What is uploaded: a file for each seed (and way of acting), the card, the records."""
    job, seeds = read_job(run), export_policies(run)
    for seed, variants in seeds.items():
        for name, policy in variants.items():
            policy.save(folder / f"policy-{seed}{f'-{name}' if name else ''}.npz")
    variants = seeds[job.seeds[0]]
    shown = own_variant(job, variants)
    name, policy = (shown, variants[shown]) if shown in variants else next(iter(variants.items()))
    file = f"policy-{job.seeds[0]}{f'-{name}' if name else ''}.npz"
    write_text(folder / "README.md", card(run, policy, file))
    for record in KEPT:
        shutil.copy(run / record, folder / record)
