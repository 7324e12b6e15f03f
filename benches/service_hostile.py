"""What `python tests/fuzz/service.py --out` has kept: ``python benches/service_hostile.py`` prints it as a sentence."""

from typing import Any

from common import RESULTS, machine, run, stored

OUT = RESULTS / "service_hostile.json"


def main() -> None:
    """Print the sentence."""
    print(sentence(stored(OUT)))


def sentence(figures: dict[str, Any]) -> str:
    """What came of the requests, and the memory that they left."""
    answers, memory = figures["answers"], figures["memory_mib"]
    findings = sum(count for answer, count in answers.items() if answer.startswith("finding")) + len(figures["faults"])
    classes = {digit: sum(count for answer, count in answers.items() if answer.startswith(digit)) for digit in "245"}
    others = sum(answers.values()) - sum(classes.values())
    statuses = ", ".join(f"{count:,} {digit}xx" for digit, count in classes.items())
    return (
        f"Of {sum(answers.values()):,} requests by {figures['settings']['clients']} clients {findings:,} were a "
        f"finding: {statuses}, and {others:,} connections that ended without an answer, as incomplete requests do. "
        f"Resident after each tenth: {', '.join(map(str, memory))} MiB; "
        f"{machine(figures['environment'])}."
    )


if __name__ == "__main__":
    run(main)
