//! Model clients, routing, retries, prices, scripted and replayed models.
