"""A configuration as it is shown: as a TOML file, and the table of all settings in the documentation."""

from kschat.settings.model import SETTINGS, Config


def describe(config: Config) -> str:
    """The effective configuration as a TOML file, secrets masked."""
    return "".join(f"{name} = {setting.to_toml(getattr(config, name))}\n" for name, setting in SETTINGS.items())


def settings_table() -> str:
    """All settings as a table in Markdown, for the documentation."""
    lines = ["| setting | default | takes | meaning |", "| --- | --- | --- | --- |"]
    for name, setting in SETTINGS.items():
        cells = (f"`{name}`", f"`{setting.to_toml(setting.default)}`", setting.span(), setting.about.doc)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
