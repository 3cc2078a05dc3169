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
		Long:  "Show and update the schema of a database. SQLite files are updated by serve too.",
		Args:  cobra.NoArgs,
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
