package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Show and update the schema of a database",
		Long: "Show and update the schema of a database. SQLite files are updated by serve too.\n\n" +
			"status exits with 0 when the database has the schema that this program needs, or none yet.\n" +
			"It exits with 1 when a migration is due, when the schema is a newer program's or a\n" +
			"stranger's, and when the database cannot be reached.\n" +
			"up exits with 0 when the database has the schema that this program needs afterwards,\n" +
			"whether or not there was something to do, and with 1 otherwise.",
		Args: noArgs,
		RunE: showHelp,
	}
	var database string
	cmd.PersistentFlags().StringVar(&database, "database", defaultDatabase, databaseUsage)
	addFileFlag(cmd.PersistentFlags(), "database")
	cmd.AddCommand(
		&cobra.Command{
			Use:   "status",
			Short: "Say which version the schema has, and which this program needs",
			Args:  noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return migrateStatus(cmd.Context(), database, cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:   "up",
			Short: "Bring the schema to the version that this program needs",
			Args:  noArgs,
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
	if schema.Current == 0 {
		fmt.Fprintf(out, "%s: no schema yet; this program needs version %d\n", database, schema.Wanted)
		return nil
	}
	if err := schema.Check(); err != nil {
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
