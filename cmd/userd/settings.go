package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/example/userd/cmd/userd/cli"
)

// settingBytes is more than a setting has.
const settingBytes = 64 << 10

// fileFlag ends the names of flags that name a file with the value of another flag:
// --database-file is for --database. Everybody on a machine can see the command lines
// of all processes, so this is for values with passwords.
const fileFlag = "-file"

// addFileFlag adds the flag that names a file for another one.
func addFileFlag(flags *pflag.FlagSet, name string) {
	flags.String(name+fileFlag, "", "file that holds the value of --"+name+", so that no other user sees its password")
}

// settle gives flags that the command line does not set the value of their variable
// or of their file, where there is one.
func settle(flags *pflag.FlagSet) error {
	given := make(map[string]bool)
	flags.Visit(func(flag *pflag.Flag) { given[flag.Name] = true })
	if err := setFromEnvironment(flags); err != nil {
		return err
	}
	var errs []error
	flags.VisitAll(func(flag *pflag.Flag) {
		name, ok := strings.CutSuffix(flag.Name, fileFlag)
		if !ok || flag.Value.String() == "" || flags.Lookup(name) == nil {
			return
		}
		switch {
		case given[name] && given[flag.Name]:
			errs = append(errs, fmt.Errorf("--%s and --%s say the same: leave one out", name, flag.Name))
		case !given[name]:
			errs = append(errs, setFromFile(flags, name, flag.Value.String()))
		}
	})
	return errors.Join(errs...)
}

// setFromFile gives a flag the one line that a file holds.
func setFromFile(flags *pflag.FlagSet, name, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--%s%s: %w", name, fileFlag, err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, settingBytes))
	if err != nil {
		return fmt.Errorf("--%s%s: %w", name, fileFlag, err)
	}
	line := strings.TrimSpace(string(text))
	if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
		return fmt.Errorf("--%s%s: %s does not hold one line with the value of --%[1]s", name, fileFlag, path)
	}
	return flags.Set(name, line)
}

// noArgs is cobra.NoArgs, but shows only words: what else is there may be a part of a
// setting with its password, without the quotes that it needs.
func noArgs(cmd *cobra.Command, args []string) error {
	for _, arg := range args {
		if strings.ContainsFunc(arg, func(r rune) bool { return (r < 'a' || r > 'z') && r != '-' }) {
			return cli.Wrong(fmt.Errorf("%s takes flags only; a value with blanks needs quotes", cmd.CommandPath()))
		}
	}
	err := cobra.NoArgs(cmd, args)
	if err == nil {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	return cli.Wrong(meant(err, cli.Nearest(args[0], names)))
}

// meant adds to an error what may have been meant, where that is known.
func meant(err error, word string) error {
	if word == "" {
		return err
	}
	return fmt.Errorf("%w; did you mean %s?", err, word)
}

// flagError is what cobra says of flags, without values, which may hold a password that was
// meant for another flag: those of -database, with one dash, are shown as letters that are
// no flags.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		err = errors.New("unknown flag: flags begin with two dashes")
	case errors.As(err, &unknown):
		if near := cli.Nearest(unknown.GetSpecifiedName(), flagNames(cmd.Flags())); near != "" {
			err = meant(err, "--"+near)
		}
	case errors.As(err, &invalid):
		err = fmt.Errorf("--%s: %w", invalid.GetFlag().Name, withoutValue(err))
	}
	return cli.Wrong(err)
}

func flagNames(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			names = append(names, flag.Name)
		}
	})
	return names
}

// withoutValue is what pflag says of a value that a flag cannot have, without the value.
func withoutValue(err error) error {
	invalid, number := new(pflag.InvalidValueError), new(strconv.NumError)
	if !errors.As(err, &invalid) {
		return err
	}
	switch cause := invalid.Unwrap(); {
	case invalid.GetFlag().Name == "log-level":
		return errors.New("must be debug, info, warn or error")
	case errors.As(cause, &number) && invalid.GetFlag().Value.Type() == "bool":
		return errors.New("must be true or false")
	case errors.As(cause, &number):
		return errors.New("must be a whole number")
	default:
		return cause
	}
}
