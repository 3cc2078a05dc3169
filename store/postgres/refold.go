package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/example/userd/store"
)

const (
	// Names that may be folded otherwise than they were by another version. Those of ASCII
	// characters alone never are. A page begins with the last one of the page before, since
	// no id is lower than the lowest. $1 id, $2 limit
	foldedNamesSQL = `
		select id, display_name, folded_name from users
		where id >= $1 and octet_length(display_name) <> char_length(display_name)
		order by id limit $2`

	// $1 ids, $2 names, $3 names folded
	refoldSQL = `
		update users set folded_name = given.folded
		from unnest($1::uuid[], $2::text[], $3::text[]) as given (id, name, folded)
		where users.id = given.id and users.display_name = given.name`

	refoldedAtOnce = 1000
)

// refold folds the names that were folded by the rule of another version. It locks a few
// users at a time, and needs no new version of them: what they look like is the same.
//
// It is a part of migrations, with which another rule of ours has to come. Another version of
// Unicode needs none: it folds as before whatever had a character before, and hardly any name
// has one that is new. SQLite begins its index anew all the same, since that index has to know
// what it has of a name in order to replace it.
func refold(ctx context.Context, conn *pgxpool.Conn) error {
	var last [16]byte
	for {
		rows, _ := conn.Query(ctx, foldedNamesSQL, last, refoldedAtOnce)
		names, err := pgx.CollectRows(rows, pgx.RowToStructByPos[foldedName])
		if err != nil {
			return fmt.Errorf("read names: %w", err)
		}
		if err := refoldNames(ctx, conn, names); err != nil {
			return fmt.Errorf("fold names: %w", err)
		}
		if len(names) < refoldedAtOnce {
			return nil
		}
		last = names[len(names)-1].ID
	}
}

type foldedName struct {
	ID           [16]byte
	Name, Folded string
}

func refoldNames(ctx context.Context, conn *pgxpool.Conn, names []foldedName) error {
	var ids [][16]byte
	var given, folded []string
	for _, name := range names {
		if now := store.FoldName(name.Name); now != name.Folded {
			ids, given, folded = append(ids, name.ID), append(given, name.Name), append(folded, now)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return step(ctx, conn, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, refoldSQL, ids, given, folded)
		return err
	})
}
