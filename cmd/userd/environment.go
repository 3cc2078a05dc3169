package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/example/userd/cmd/userd/cli"
)

const variablePrefix = "USERD_"

// variable is the name of a flag in the environment.
func variable(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// setFromEnvironment gives every flag that the command line does not set the value
// of its variable, where there is one. An empty one counts as none.
func setFromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(flag *pflag.Flag) {
		name := variable(flag.Name)
		value := os.Getenv(name)
		if value == "" || flag.Changed {
			return
		}
		if err := flags.Set(flag.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, withoutValue(err)))
		}
	})
	return errors.Join(errs...)
}

// ofOthers are variables that Kubernetes sets for a service with the name userd, and those
// of our tests.
var ofOthers = regexp.MustCompile(`^USERD_(SERVICE_|PORT$|PORT_\d|TEST_)`)

// unknownVariables says which variables that look like ours are those of no flag of any
// command, and what they may have been meant to be.
func unknownVariables(root *cobra.Command, environment []string) []string {
	known := variables(root)
	var unknown []string
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, variablePrefix) || ofOthers.MatchString(name) || slices.Contains(known, name) {
			continue
		}
		unknown = append(unknown, meant(fmt.Errorf("%s is no variable of userd", name), cli.Nearest(name, known)).Error())
	}
	slices.Sort(unknown)
	return unknown
}

// variables are those of all flags of a command and of the commands below it.
func variables(cmd *cobra.Command) []string {
	var names []string
	add := func(flag *pflag.Flag) { names = append(names, variable(flag.Name)) }
	cmd.LocalFlags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
	for _, sub := range cmd.Commands() {
		names = append(names, variables(sub)...)
	}
	return names
}
