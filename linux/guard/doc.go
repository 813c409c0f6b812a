// Package guard freezes file systems so that they are thawed again whatever happens.
//
// A process that writes to a frozen file system sleeps uninterruptibly, even under SIGKILL: only a thaw frees it. So
// the freezing is not done by the program that takes the snapshot but by a child of it, the guard, which does nothing
// else, holds all it needs before the first freeze, and thaws at once when its parent dies or when the longest hold
// passes. The parent holds the same descriptors and thaws when the guard dies. When both are killed, the file that
// names what they may have frozen is left, and ThawOwned reads it.
//
//	parent                                guard (same program, Enter)
//	Start ── exec, descriptors ─────────▶ locks memory, one thread per file system
//	      ◀──────────────── ready ──────
//	      owned file, fsync
//	Freeze ── F ────────────────────────▶ FIFREEZE ×n          ┐
//	      ◀───────── frozen ×n ─────────                       │ the window: no file is written,
//	      (one API call)                                       │ nothing is logged
//	Thaw  ── T ─────────────────────────▶ FITHAW ×n            ┘
//	      ◀───────── thawed ×n ─────────
//	Release ── R ───────────────────────▶ leaves; owned file removed
//
// It imports nothing of ours, knows nothing of EC2, never thaws what somebody else froze, and never freezes the root
// file system.
package guard
