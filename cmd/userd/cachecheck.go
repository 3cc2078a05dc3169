package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/example/userd/cache"
	"github.com/example/userd/cmd/userd/cli"
)

func cacheCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look after the cache in Redis",
		Args:  noArgs,
		RunE:  showHelp,
	}
	var c checkConfig
	check := &cobra.Command{
		Use:     "check",
		Short:   "Compare the cached users with the store; exit code 0 if none is older than it may be",
		Example: "  userd cache check --database-file database --redis redis://cache.internal:6379",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	check.Flags().StringVar(&c.database, "database", defaultDatabase, databaseUsage)
	addFileFlag(check.Flags(), "database")
	check.Flags().StringVar(&c.redis, "redis", "", "as for serve")
	addFileFlag(check.Flags(), "redis")
	check.Flags().IntVar(&c.rate, "rate", 1000, "most entries to compare in a second")
	cmd.Example = check.Example
	cmd.AddCommand(check)
	return cmd
}

// maxRate is more than Redis has time for, in entries a second.
const maxRate = 1_000_000

// redisError is an error of --redis, which may be that it makes no sense.
func redisError(err error) error {
	told := fmt.Errorf("--redis: %w", err)
	if errors.Is(err, cache.ErrRedisURL) {
		return cli.Wrong(told)
	}
	return told
}

type checkConfig struct {
	database, redis string
	rate            int
}

func (c checkConfig) run(ctx context.Context, out io.Writer) (err error) {
	if c.redis == "" {
		return cli.Wrong(errors.New("--redis must say which cache; one in a server's own process cannot be seen from outside"))
	}
	if c.rate < 1 || c.rate > maxRate {
		return cli.Wrong(fmt.Errorf("--rate must be between 1 and %d, not %d", maxRate, c.rate))
	}
	database, err := parseDatabase("--database", c.database)
	if err != nil {
		return err
	}
	users, err := database.openShared(ctx)
	if err != nil {
		return fmt.Errorf("--database %s: %w", database, err)
	}
	defer func() { err = errors.Join(err, users.Close()) }()
	settings := config{redis: c.redis}
	report, err := cache.Check(ctx, users, settings.cache(nil), c.rate)
	switch {
	case errors.Is(err, cache.ErrRedisURL):
		return redisError(err)
	case err != nil:
		return fmt.Errorf("check cache: %w", err)
	}
	for _, stale := range report.Stale {
		fmt.Fprintf(out, "%s: cached at version %d, stored at %d\n", stale.UserID, stale.Cached, stale.Stored)
	}
	fmt.Fprintf(out, "compared %d entries: %d stale, %d corrupt\n", report.Entries, len(report.Stale), report.Corrupt)
	if len(report.Stale) > 0 {
		return errors.New("the cache holds users that are older than they may be")
	}
	return nil
}
