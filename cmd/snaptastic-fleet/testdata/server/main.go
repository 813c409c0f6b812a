// Command server is a real Temporal server on one SQLite file, on loopback, for
// the tests of snaptastic-fleet and for a first try. It is not for production:
// docs/fleet.md says what is.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
)

func main() {
	file := flag.String("file", "", "SQLite file; created with its schema when it is missing")
	port := flag.Int("port", 7233, "port of the frontend on 127.0.0.1; the seven ports after it are used inside")
	namespaces := flag.String("namespaces", "default", "namespaces to create, separated by commas")
	tls := flag.String("tls", "", "folder with ca.pem, server.pem and server.key: clients then need a certificate of that CA")
	level := flag.String("log-level", "error", "debug, info, warn, error")
	flag.Parse()
	if err := serve(*file, *port, strings.Split(*namespaces, ","), *tls, *level); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func serve(file string, port int, namespaces []string, tls, level string) error {
	if file == "" {
		return errors.New("-file is missing")
	}
	store := &config.SQL{
		PluginName:        sqliteplugin.PluginName,
		DatabaseName:      file,
		ConnectAttributes: map[string]string{"mode": "rwc", "_journal_mode": "wal", "_synchronous": "normal"},
	}
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		if err := sqlite.SetupSchema(store); err != nil {
			return fmt.Errorf("cannot create %s: %w", file, err)
		}
	}
	var wanted []*sqlite.NamespaceConfig
	for _, name := range namespaces {
		n, err := sqlite.NewNamespaceConfig("active", name, false, nil)
		if err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
		wanted = append(wanted, n)
	}
	if err := sqlite.CreateNamespaces(store, wanted...); err != nil {
		return fmt.Errorf("cannot create namespaces: %w", err)
	}
	s, err := temporal.NewServer(
		temporal.WithConfig(configuration(store, port, tls)),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithLogger(log.NewZapLogger(log.BuildZapLogger(log.Config{Stdout: true, Level: level}))),
		// One host's queue has one worker with one poller: one partition is enough, and takes less memory than four.
		temporal.WithDynamicConfigClient(dynamicconfig.StaticClient{
			dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
			dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,
		}),
	)
	if err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	return s.Stop()
}

func configuration(store *config.SQL, port int, tls string) *config.Config {
	frontend := fmt.Sprintf("127.0.0.1:%d", port)
	service := func(n int) config.Service {
		return config.Service{RPC: config.RPC{GRPCPort: port + n, MembershipPort: port + 4 + n, BindOnLocalHost: true}}
	}
	c := &config.Config{
		Global: config.Global{
			Membership: config.Membership{MaxJoinDuration: 30 * time.Second, BroadcastAddress: "127.0.0.1"},
		},
		Persistence: config.Persistence{
			DefaultStore:     sqliteplugin.PluginName,
			VisibilityStore:  sqliteplugin.PluginName,
			NumHistoryShards: 1,
			DataStores:       map[string]config.DataStore{sqliteplugin.PluginName: {SQL: store}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        "active",
			CurrentClusterName:       "active",
			ClusterInformation: map[string]cluster.ClusterInformation{
				"active": {Enabled: true, InitialFailoverVersion: 1, RPCAddress: frontend},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		Services: map[string]config.Service{
			"frontend": service(0), "history": service(1), "matching": service(2), "worker": service(3),
		},
		Archival: config.Archival{
			History:    config.HistoryArchival{State: "disabled"},
			Visibility: config.VisibilityArchival{State: "disabled"},
		},
		PublicClient: config.PublicClient{HostPort: frontend},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: "disabled"},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: "disabled"},
		}},
	}
	if tls != "" {
		ca := []string{filepath.Join(tls, "ca.pem")}
		c.Global.TLS.Frontend = config.GroupTLS{
			Server: config.ServerTLS{
				CertFile: filepath.Join(tls, "server.pem"), KeyFile: filepath.Join(tls, "server.key"),
				ClientCAFiles: ca, RequireClientAuth: true,
			},
			Client: config.ClientTLS{RootCAFiles: ca, ServerName: "localhost"},
		}
		c.Global.TLS.SystemWorker = config.WorkerTLS{
			CertFile: filepath.Join(tls, "server.pem"), KeyFile: filepath.Join(tls, "server.key"),
			Client: config.ClientTLS{RootCAFiles: ca, ServerName: "localhost"},
		}
	}
	return c
}
