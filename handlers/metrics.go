package handlers

import (
	"cmp"
	"context"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"entgo.io/ent/dialect"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"daybook/database"
	"daybook/transaction"
)

// metrics are what is counted and measured for Prometheus. Whatever clients send, no label has more values than this program knows.
type metrics struct {
	registry              *prometheus.Registry
	requests              *prometheus.HistogramVec
	transactions, retries *prometheus.CounterVec
	waited, held, ending  *prometheus.HistogramVec
}

// newMetrics returns the application's metrics.
func newMetrics(a app) *metrics {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), gauges{a})
	create := promauto.With(registry)
	seconds := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return create.NewHistogramVec(prometheus.HistogramOpts{
			Name: "daybook_" + name + "_seconds", Help: help,
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, labels)
	}
	count := func(name, help string, labels ...string) *prometheus.CounterVec {
		return create.NewCounterVec(prometheus.CounterOpts{Name: "daybook_" + name + "_total", Help: help}, labels)
	}
	version, commit := Build()
	create.NewGauge(prometheus.GaugeOpts{
		Name: "daybook_build_info", Help: "1, with the versions of the program as labels.",
		ConstLabels: prometheus.Labels{
			"version": version, "commit": commit, "go_version": runtime.Version(), "sqlite_version": database.SQLiteVersion(),
		},
	}).Set(1)
	members := create.NewHistogram(prometheus.HistogramOpts{
		Name: "daybook_commit_members", Help: "Transactions that a COMMIT has made durable.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 9),
	})
	flush := seconds("commit_flush", "How long a COMMIT took, which is the flush of the disk.").WithLabelValues()
	m := &metrics{
		registry:     registry,
		requests:     seconds("http_request_duration", "How long requests took, to the end of their answer.", "route", "method", "status"),
		transactions: count("transactions", "Requests by the outcome of their transaction.", "mode", "outcome"),
		retries:      count("transaction_retries", "Further attempts, because the database asked to repeat a transaction.", "mode"),
		waited:       seconds("transaction_waited", "How long transactions waited for their begin.", "mode"),
		held:         seconds("transaction_held", "How long transactions lasted, from their begin to their end.", "mode"),
		ending:       seconds("transaction_ending", "How long COMMIT or ROLLBACK took, with the wait for others in the same group.", "mode"),
	}
	// They begin at 0, because Prometheus does not see the increase of a counter that appears as 1.
	outcomes := []transaction.Outcome{transaction.Committed, transaction.RolledBack, transaction.CommitFailed, transaction.CommitUnknown}
	for _, outcome := range outcomes {
		m.transactions.WithLabelValues("read", string(outcome))
		m.transactions.WithLabelValues("write", string(outcome))
	}
	database.ObserveCommits(a.driver, func(transactions int, took time.Duration) {
		members.Observe(float64(transactions))
		flush.Observe(took.Seconds())
	})
	return m
}

// methods are those that the metrics tell apart.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions}

// observeRequest measures a request that was answered.
func (m *metrics) observeRequest(c echo.Context, took time.Duration) {
	route, method := cmp.Or(c.Path(), "other"), c.Request().Method
	if route == "/" && c.QueryParams().Has("all") {
		route = "/?all" // it takes as long as its client does, unlike a page
	}
	if !slices.Contains(methods, method) {
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(c.Response().Status)).Observe(took.Seconds())
}

// observeTransaction measures a transaction that has ended.
func (m *metrics) observeTransaction(_ context.Context, r transaction.Report) {
	m.transactions.WithLabelValues(r.Mode, string(r.Outcome)).Inc()
	if r.Attempts > 1 {
		m.retries.WithLabelValues(r.Mode).Add(float64(r.Attempts - 1))
	}
	if r.Mode != "none" {
		m.waited.WithLabelValues(r.Mode).Observe(r.Waited.Seconds())
		m.held.WithLabelValues(r.Mode).Observe(r.Held.Seconds())
		m.ending.WithLabelValues(r.Mode).Observe(r.Ending.Seconds())
	}
}

// handler answers a scrape. Its client may break it off, so an error is only counted.
func (m *metrics) handler() echo.HandlerFunc {
	return echo.WrapHandler(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry:           m.registry,
		ErrorHandling:      promhttp.ContinueOnError,
		EnableOpenMetrics:  true,
		DisableCompression: true, // as for every answer
	}))
}

// gauges are what a scrape looks up. It waits neither for the writer nor for long for a database that does not answer.
type gauges struct{ app }

// Describe describes nothing in advance: not every gauge is always there.
func (gauges) Describe(chan<- *prometheus.Desc) {}

// Collect sends what is known at this moment.
func (a gauges) Collect(metrics chan<- prometheus.Metric) {
	send := func(name, help string, value float64) {
		metrics <- prometheus.MustNewConstMetric(prometheus.NewDesc("daybook_"+name, help, nil, nil), prometheus.GaugeValue, value)
	}
	ctx, cancel := context.WithTimeout(context.Background(), pingTimeout)
	defer cancel()
	stats, err := database.Stats(ctx, a.driver)
	if err == nil {
		send("database_size_bytes", "Size of the database.", float64(stats.Size))
	}
	if err == nil && a.driver.Dialect() == dialect.SQLite {
		send("database_log_size_bytes", "Size of SQLite's write-ahead log.", float64(stats.LogSize))
	}
	up := 1.0
	if a.readiness.check() != nil {
		up = 0
	}
	send("database_up", "1 if the database can be reached, as /readyz has it, and else 0.", up)
	send("database_connections", "Connections to the database in use.", float64(stats.Connections))
	send("database_connections_max", "Connections to the database that there can be.", float64(stats.MaxConnections))
	send("database_waiting", "Transactions that wait for a connection or for their turn to write.", float64(stats.Waiting))
	send("subscribers", "Clients that follow messages as they are recorded.", float64(a.hub.Subscribers()))
}

// Build returns the version and the commit that the program was built from.
func Build() (version, commit string) {
	version, commit = "unknown", "unknown (go run does not record it)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				commit = setting.Value
			}
		}
	}
	return version, commit
}
