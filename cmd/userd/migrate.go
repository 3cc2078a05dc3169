package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/example/userd/cmd/userd/cli"
)

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Show and update the schema of a database",
		Long: "Show and update the schema of a database. SQLite files are updated by serve too.\n\n" +
			"status exits with 0 when the database has the schema that this program needs, and with 3\n" +
			"when a migration is due: the schema is older, or there is none yet. It exits with 1 when\n" +
			"the schema is a newer program's or a stranger's, and when the database cannot be reached.\n" +
			"up exits with 0 when the database has the schema that this program needs afterwards,\n" +
			"whether or not there was something to do, and with 1 otherwise.",
		Example: "  userd migrate status --database sqlite:userd.db\n" +
			"  userd migrate up --database-file database",
		Args: noArgs,
		RunE: showHelp,
	}
	var database string
	cmd.PersistentFlags().StringVar(&database, "database", defaultDatabase, databaseUsage)
	addFileFlag(cmd.PersistentFlags(), "database")
	cmd.AddCommand(
		&cobra.Command{
			Use:     "status",
			Short:   "Say which version the schema has, and which this program needs",
			Example: "  userd migrate status --database sqlite:userd.db",
			Args:    noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return migrateStatus(cmd.Context(), database, cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:     "up",
			Short:   "Bring the schema to the version that this program needs",
			Example: "  userd migrate up --database-file database",
			Args:    noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return migrateUp(cmd.Context(), database, cmd.OutOrStdout())
			},
		},
	)
	return cmd
}

func migrateStatus(ctx context.Context, flag string, out io.Writer) error {
	database, err := parseDatabase("--database", flag)
	if err != nil {
		return err
	}
	schema, err := database.status(ctx)
	if err != nil {
		return err
	}
	switch err := schema.Check(); {
	case schema.Current == 0:
		return cli.Exit(cli.Due, fmt.Errorf("%s: no schema yet; this program needs version %d: run `userd migrate up`", database, schema.Wanted))
	case schema.Current < schema.Wanted:
		return cli.Exit(cli.Due, err)
	case err != nil:
		return err
	}
	fmt.Fprintf(out, "%s: schema is at version %d, as this program needs\n", database, schema.Current)
	return nil
}

func migrateUp(ctx context.Context, flag string, out io.Writer) error {
	database, err := parseDatabase("--database", flag)
	if err != nil {
		return err
	}
	before, err := database.migrate(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: schema is at version %d, was at %d\n", database, before.Wanted, before.Current)
	return nil
}
