package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/example/userd/store/sqlite"
)

func migrateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Show and update the schema of a database",
		Long:  "Show and update the schema of a database. SQLite files are updated by serve too.",
		Args:  cobra.NoArgs,
		RunE:  showHelp,
	}
	var database string
	cmd.PersistentFlags().StringVar(&database, "database", defaultDatabase, "sqlite:FILE")
	cmd.AddCommand(
		&cobra.Command{
			Use:   "status",
			Short: "Say which version the schema has, and which this program needs",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return migrateStatus(cmd.Context(), database, cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:   "up",
			Short: "Bring the schema to the version that this program needs",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return migrateUp(cmd.Context(), database, cmd.OutOrStdout())
			},
		},
	)
	return cmd
}

func migrateStatus(ctx context.Context, database string, out io.Writer) error {
	path, err := sqlitePath(database)
	if err != nil {
		return err
	}
	schema, err := sqlite.Status(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	switch {
	case schema.Current == 0:
		fmt.Fprintf(out, "%s: no database yet; this program needs schema version %d\n", withoutPassword(database), schema.Wanted)
	case schema.Current == schema.Wanted:
		fmt.Fprintf(out, "%s: schema is at version %d, as this program needs\n", withoutPassword(database), schema.Current)
	default:
		return schema.Check()
	}
	return nil
}

func migrateUp(ctx context.Context, database string, out io.Writer) error {
	path, err := sqlitePath(database)
	if err != nil {
		return err
	}
	before, err := sqlite.Migrate(ctx, sqlite.Config{Path: path})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: schema is at version %d, was at %d\n", withoutPassword(database), before.Wanted, before.Current)
	return nil
}
