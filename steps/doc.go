// Package steps knows what each kind of step means: how to see its effect, how to bring it about, how to take it back.
//
// One file is one kind. Each declares a plan.Def with its input and output, which recipes wire together, and binds typed
// functions to it in Handlers. The functions act through three narrow interfaces, Cloud, Host and Freezer, and answer
// with verdicts, so that the runner needs to know neither EC2 nor Linux. The package imports plan, ec2, linux and
// linux/guard. It keeps nothing between steps but what cannot be written down: a live freeze, held by run and section.
// It never decides what comes after what, never writes a journal, and never formats what this run did not make empty.
package steps
