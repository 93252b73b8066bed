"""How settings are shown: the effective ones as a TOML file, and all of them as a table in the documentation."""

from kschat.backends.kinds import Backends
from kschat.backends.table import BACKENDS
from kschat.settings.model import SETTINGS, Config
from kschat.settings.setting import Setting


def describe(config: Config) -> str:
    """The effective configuration as a TOML file, secrets masked."""
    return "".join(f"{name} = {setting.to_toml(getattr(config, name))}\n" for name, setting in SETTINGS.items())


def meaning(setting: Setting, backends: Backends = BACKENDS) -> str:
    """What a setting means, the stores it applies to if not all, and whether SIGHUP changes it."""
    doc = f"{setting.about.doc} (SIGHUP)" if setting.about.live else setting.about.doc
    stores = [f"`{kind.name}`" for kind in backends.stores if setting.name in kind.settings]
    if not stores:
        return doc
    named = " and ".join([*filter(None, [", ".join(stores[:-1])]), stores[-1]])
    return f"{doc} Applies to the store{'s' if len(stores) > 1 else ''} {named}."


def settings_table() -> str:
    """All settings as a table in Markdown, for the documentation."""
    lines = ["| setting | default | values | meaning |", "| --- | --- | --- | --- |"]
    for name, setting in SETTINGS.items():
        cells = (f"`{name}`", f"`{setting.to_toml(setting.default)}`", setting.span(), meaning(setting))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
