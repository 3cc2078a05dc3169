package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// rowsInTransaction is the number of users that userd's import commits together.
const rowsInTransaction = 1_000

// importSQLite inserts all rows of one database into another, empty one with the
// same tables, with the engine and nothing else, and prints how long that took.
// Triggers would write rows that are there already.
func importSQLite(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: peers sqlite FROM TO USERS")
	}
	users, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	tables, err := readTables(args[0])
	if err != nil {
		return err
	}
	conn, err := sqlite.OpenConn(args[1], sqlite.OpenReadWrite|sqlite.OpenWAL)
	if err != nil {
		return err
	}
	defer conn.Close()
	triggers, err := names(conn, "type = 'trigger'")
	if err != nil {
		return err
	}
	for _, trigger := range triggers {
		if err := sqlitex.ExecuteTransient(conn, "DROP TRIGGER "+trigger, nil); err != nil {
			return err
		}
	}
	if err := sqlitex.ExecuteTransient(conn, "PRAGMA synchronous=FULL", nil); err != nil {
		return err
	}
	began := time.Now()
	transactions := max(1, users/rowsInTransaction)
	for n := range transactions {
		if err := insertPart(conn, tables, n, transactions); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{"seconds": time.Since(began).Seconds()})
}

// names are the names of what a database has.
func names(conn *sqlite.Conn, condition string) (found []string, err error) {
	err = sqlitex.ExecuteTransient(conn, "SELECT name FROM sqlite_schema WHERE "+condition, &sqlitex.ExecOptions{
		ResultFunc: func(stmt *sqlite.Stmt) error {
			found = append(found, stmt.ColumnText(0))
			return nil
		},
	})
	return found, err
}

// table is the content of a table.
type table struct {
	name string
	rows [][]any
}

func readTables(path string) ([]*table, error) {
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The index of names is made later, of what these have.
	found, err := names(conn, "type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'user_names%' AND name <> 'meta'")
	var tables []*table
	for _, name := range found {
		t := &table{name: name}
		if err := sqlitex.ExecuteTransient(conn, "SELECT * FROM "+name, &sqlitex.ExecOptions{ResultFunc: t.add}); err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	return tables, err
}

// add adds a row of the table.
func (t *table) add(stmt *sqlite.Stmt) error {
	row := make([]any, stmt.ColumnCount())
	for i := range row {
		switch stmt.ColumnType(i) {
		case sqlite.TypeInteger:
			row[i] = stmt.ColumnInt64(i)
		case sqlite.TypeText:
			row[i] = stmt.ColumnText(i)
		case sqlite.TypeNull:
		default:
			return fmt.Errorf("column %d of %s is a %s", i, t.name, stmt.ColumnType(i))
		}
	}
	t.rows = append(t.rows, row)
	return nil
}

// insertPart inserts one of several equal parts of every table in one transaction.
func insertPart(conn *sqlite.Conn, tables []*table, part, parts int) (err error) {
	end, err := sqlitex.ImmediateTransaction(conn)
	if err != nil {
		return err
	}
	defer end(&err)
	for _, t := range tables {
		if len(t.rows) == 0 {
			continue
		}
		stmt, err := conn.Prepare("INSERT INTO " + t.name + " VALUES (?" + strings.Repeat(", ?", len(t.rows[0])-1) + ")")
		if err != nil {
			return err
		}
		for _, row := range t.rows[len(t.rows)*part/parts : len(t.rows)*(part+1)/parts] {
			if err := insert(stmt, row); err != nil {
				return fmt.Errorf("insert into %s: %w", t.name, err)
			}
		}
	}
	return nil
}

func insert(stmt *sqlite.Stmt, row []any) error {
	for i, value := range row {
		switch value := value.(type) {
		case int64:
			stmt.BindInt64(i+1, value)
		case string:
			stmt.BindText(i+1, value)
		default:
			stmt.BindNull(i + 1)
		}
	}
	_, stepErr := stmt.Step()
	if err := stmt.Reset(); err != nil {
		return err
	}
	return stepErr
}
