package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/example/userd/store"
)

func copyCommand() *cobra.Command {
	var c copyConfig
	cmd := &cobra.Command{
		Use:   "copy --from DATABASE --to DATABASE",
		Short: "Copy all users from one database to an empty one",
		Long: "Copy all users, with ids, versions and times, from one database to an empty one,\n" +
			"and compare the two in the end. Start it again to go on after an interruption.\n" +
			"No server may write to either database meanwhile.",
		Example: "  userd copy --from sqlite:userd.db --to-file database",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&c.from, "from", "", databaseUsage)
	addFileFlag(cmd.Flags(), "from")
	cmd.Flags().StringVar(&c.to, "to", "", databaseUsage+"; a new one gets its schema first")
	addFileFlag(cmd.Flags(), "to")
	return cmd
}

type copyConfig struct{ from, to string }

func (c copyConfig) run(ctx context.Context, out io.Writer) (err error) {
	from, err := parseDatabase("--from", c.from)
	if err != nil {
		return err
	}
	to, err := parseDatabase("--to", c.to)
	if err != nil {
		return err
	}
	source, err := from.openShared(ctx)
	if err != nil {
		return fmt.Errorf("--from %s: %w", from, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	if err := to.makeSchema(ctx); err != nil {
		return fmt.Errorf("--to %s: %w", to, err)
	}
	target, err := to.open(ctx, nil)
	if err != nil {
		return fmt.Errorf("--to %s: %w", to, err)
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	return copyUsers(ctx, source, target, out)
}

// copyUsers copies with a progress bar on a terminal and says what was copied.
func copyUsers(ctx context.Context, source, target store.Copyable, out io.Writer) error {
	progress := func(int64, int64) {}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		bar := progressbar.Default(0, "copying")
		progress = func(done, total int64) {
			bar.ChangeMax64(total)
			_ = bar.Set64(done) // What cannot be drawn is not missed.
		}
	}
	err := store.Copy(ctx, source, target, progress)
	if errors.Is(err, store.ErrNotEmpty) {
		return notEmpty(ctx, target)
	}
	if err != nil {
		return err
	}
	contents, err := target.Contents(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "copied and compared %d users and %d ids of deleted users\n", contents.Users, contents.Deleted)
	return nil
}

// notEmpty says what is in a target that no copy of the source has put there.
func notEmpty(ctx context.Context, target store.Copyable) error {
	unfinished, err := target.Unfinished(ctx)
	if unfinished {
		return errors.New("--to has a part of a copy of another database; nothing was written: delete it and copy anew, or go on with a copy of that one")
	}
	return errors.Join(err, errors.New("--to has users already that no copy of --from has put there; nothing was written"))
}
