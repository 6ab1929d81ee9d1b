"""The office: offers, segments, experiments and policies over HTTP, in a process of its own."""
