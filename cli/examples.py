"""What `--help` shows to type: three examples a command; a test runs each of them."""

from __future__ import annotations

EXAMPLES = {
    "": (
        "rnndrop run dropout=variational",
        "rnndrop sweep dropout=none,naive,variational 'seed=range(3)' --jobs 2",
        "rnndrop report --baseline none",
    ),
    "run": (
        "rnndrop run dropout=variational",
        "rnndrop run dropout=naive dropout.recurrent.p=0.2 trainer.epochs=12",
        "rnndrop run --cfg dropout=awd",
    ),
    "sweep": (
        "rnndrop sweep dropout=none,naive,variational 'seed=range(3)' --jobs 2",
        "rnndrop sweep dropout=variational dropout.recurrent.p=0,0.1,0.3 --dry-run",
        "rnndrop sweep dropout=naive,awd trainer.optimizer=adam,sgd --retry-failed",
    ),
    "ablate": (
        "rnndrop ablate variational --jobs 2",
        "rnndrop ablate variational --mode add 'seed=range(5)'",
        "rnndrop ablate awd --dry-run",
    ),
    "variance": (
        "rnndrop variance dropout=variational",
        "rnndrop variance dropout=variational 'seed=range(5)' --jobs 2",
        "rnndrop variance dropout=awd model=gru --dry-run",
    ),
    "decide": (
        "rnndrop decide dropout=variational,naive --margin 1%",
        "rnndrop decide dropout=none,naive,variational --max-seeds 10 --jobs 2",
        "rnndrop decide dropout=variational,naive --plan-only --pilot 0.6%,4.9%",
    ),
    "reproduce": (
        "rnndrop reproduce zaremba_small --scale small --jobs 2",
        "rnndrop reproduce new_rows --dry-run",
        "rnndrop reproduce zaremba_small --committed",
    ),
    "tune": (
        "rnndrop tune dropout=naive,variational,awd --trials 20 --seeds 5 --jobs 2",
        "rnndrop tune dropout=variational 'dropout.recurrent.p=interval(0,0.7)'",
        "rnndrop tune dropout=naive,awd 'rate_factor=interval(0.5,1.5)'",
    ),
    "show": (
        "rnndrop show 3f9c21ab",
        "rnndrop show 3f9c21ab/seed-0",
        "rnndrop show results/runs/3f9c21ab/seed-0 --json",
    ),
    "watch": (
        "rnndrop watch",
        "rnndrop watch results/runs --every 10",
        "rnndrop watch --once",
    ),
    "doctor": (
        "rnndrop doctor",
        "rnndrop doctor data=pydoc model.hidden=650 trainer.threads=1",
        "rnndrop doctor results/runs",
    ),
    "report": (
        "rnndrop report --baseline none",
        "rnndrop report --where model=lstm --columns n,test,time --sort -time",
        "rnndrop report --last 1d --html report.html",
    ),
    "eval": (
        "rnndrop eval 3f9c21ab --mc 100",
        "rnndrop eval --where dropout=variational evaluation=cache --jobs 2",
        "rnndrop eval --ensemble 3f9c21ab/seed-0 3f9c21ab/seed-1",
    ),
    "rm": (
        "rnndrop rm 3f9c21ab",
        "rnndrop rm 3f9c21ab/seed-0 --yes",
        "rnndrop rm --where dropout=naive --where 'seed>0'",
    ),
    "gc": (
        "rnndrop gc --dry-run",
        "rnndrop gc --checkpoints --yes",
        "rnndrop gc --weights --where dropout=naive",
    ),
    "export": (
        "rnndrop export -o runs.tar",
        "rnndrop export --where data=synthetic --weights -o synthetic.tar",
        "rnndrop export 3f9c21ab -o one.tar",
    ),
    "import": (
        "rnndrop import runs.tar",
        "rnndrop import runs.tar output=elsewhere",
        "rnndrop import runs.tar --output results/runs",
    ),
    "masks": (
        "rnndrop masks dropout=variational",
        "rnndrop masks dropout=awd -o masks.png",
        "rnndrop masks dropout.recurrent.kind=locked dropout.recurrent.p=0.3",
    ),
    "plot": (
        "rnndrop plot curves",
        "rnndrop plot forest --baseline none -o forest.pdf",
        "rnndrop plot rates --location recurrent -o rates.svg",
    ),
    "ls": (
        "rnndrop ls",
        "rnndrop ls dropout",
        "rnndrop ls reproduce",
    ),
    "help": (
        "rnndrop help trainer.decay_after",
        "rnndrop help dropout.recurrent",
        "rnndrop help sweep",
    ),
}
"""By command; those of `rnndrop` itself at the empty name."""
