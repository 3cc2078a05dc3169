package postgres

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// causes are what PostgreSQL's codes for a database that cannot be used mean, and what
// to do.
var causes = map[string]string{
	"28P01":            badLogin,
	"28000":            badLogin,
	"3D000":            "there is no such database: create it, or correct --database",
	"42501":            "the role lacks a right, or row security hides rows from it: make it the owner of userd's tables, or grant it select, insert, update, delete and truncate, and switch row security off",
	"25006":            readOnly,
	"53100":            "the disk of the database is full: free space there",
	"53200":            "the database server is out of memory",
	tooManyConnections: "the database server has too many connections: raise max_connections, or set a lower pool_max_conns in --database",
	"57014":            "a statement took too long or was cancelled: look for locks and load in pg_stat_activity, and at statement_timeout of the role",
	"25P03":            "a transaction took too long: look at idle_in_transaction_session_timeout of the role",
	"25P04":            "a transaction took too long: look at transaction_timeout of the role",
	"53400":            "a limit of the database was reached: look at temp_file_limit of the role",
	"57P01":            "the database server was told to stop",
	"57P02":            "the database server has crashed",
	"57P03":            "the database server is starting or stopping",
	"58030":            "the database server cannot read or write its files: look at its disk and its log",
	protocolViolation:  "the database or its pooler does not take the connection, for what stands behind this: a setting that it does not know is to be left out of --database",
}

// connectCauses are what codes mean that have another meaning while a connection is made.
var connectCauses = map[string]string{
	"42501": "the role may not connect: grant connect on the database to it, or leave settings out of --database that it may not make",
	"42704": badSetting,
	"22023": badSetting,
}

const (
	badSetting  = "the database does not take a setting in --database: leave out what it does not know, and correct the rest"
	badLogin    = "the database does not take the role or its password: correct them in --database or the PG* variables, and start userd again"
	readOnly    = "the database takes no writes: it is a standby, or default_transaction_read_only is on"
	lockTooLong = "a lock was not given in time: look in pg_locks for who holds it"
	tooLate     = "the database did not answer before the deadline of a call: look for locks and load in pg_stat_activity, or raise pool_max_conns in --database"
)

// causeOf says in one line why the store is unavailable, and what to do.
func causeOf(err error) string {
	if cause := dialCause(err); cause != "" {
		return cause
	}
	var pgErr *pgconn.PgError
	var connectErr *pgconn.ConnectError
	var refused refusal
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case !errors.As(err, &pgErr):
		return "the connection to the database was lost: look at its log and at the network"
	case errors.As(err, &connectErr) && connectCauses[pgErr.Code] != "":
		return connectCauses[pgErr.Code]
	case causes[pgErr.Code] != "":
		return causes[pgErr.Code]
	}
	return "the database is in trouble: look at its log"
}

// dialCause is causeOf for what happens on the way to the database, or "".
func dialCause(err error) string {
	var certificate *tls.CertificateVerificationError
	var resolve *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &certificate):
		return "the certificate of the database is not trusted: correct sslrootcert or the host in --database"
	case errors.As(err, &resolve):
		return "the host of the database cannot be found: correct it in --database, or look at DNS"
	case errors.Is(err, pgconn.ErrReadOnlyConnection):
		return readOnly
	case errors.As(err, &dial) && dial.Op == "dial":
		return "nothing answers at the address of the database: is it running, and is --database right?"
	}
	return ""
}
