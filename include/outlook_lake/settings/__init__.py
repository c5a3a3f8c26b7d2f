"""Settings: every knob, and the layers a value can come from."""

from outlook_lake.settings.knobs import (
    GraphSettings,
    InventorySettings,
    Knob,
    LakeSettings,
    LooksSettings,
    PrivacySettings,
    ReceiverSettings,
    Settings,
    StreamSettings,
    SubscriptionSettings,
    TenantSettings,
)

__all__ = [
    "GraphSettings",
    "InventorySettings",
    "Knob",
    "LakeSettings",
    "LooksSettings",
    "PrivacySettings",
    "ReceiverSettings",
    "Settings",
    "StreamSettings",
    "SubscriptionSettings",
    "TenantSettings",
]
