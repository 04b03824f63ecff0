//! gearmand: its option lines, its text protocol, its binary protocol.
