//! One task per conversation.
