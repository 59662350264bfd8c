//! Durable rows: conversations, events, secrets, settings.
