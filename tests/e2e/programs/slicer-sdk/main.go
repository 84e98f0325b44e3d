// Slicer-sdk keeps the simulated Slicer daemon honest: it is a client that did not come from this project. What the
// official Go SDK sends must be understood, and what the SDK reads must be there and mean what it says.
//
//	slicer-sdk -url http://127.0.0.1:8080 -token TOKEN -group k3s-agents
//
// The daemon must want a token. The program prints a line for each check, removes what it created, and exits with 1 if
// a check failed.
//
// Some methods of the SDK do not fit the documented API and are not used: GetHostGroupNodes with a filter escapes the
// question mark of its query, and GetVMStats of one VM expects a list where the API answers one object. Nor can the SDK
// read when a secret was changed: it looks for modified_at, the API says mod_time.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	slicer "github.com/slicervm/sdk"
)

const (
	// Everything together, the tidying included.
	overall = 2 * time.Minute
	// What is left of it for tidying up when a check hangs.
	forTidying = 15 * time.Second
	// What the SDK sends as 1m30s: a Go duration with two units.
	waitTimeout = 90 * time.Second
	// How far the clocks of the daemon and of this program may be apart.
	clockSkew = 5 * time.Minute
	pollEvery = 50 * time.Millisecond
	userAgent = "slicer-sdk-checks"
	userdata  = "#!/bin/sh\necho done > /dev/console\n"
)

func main() {
	url := flag.String("url", "http://127.0.0.1:8080", "where the daemon is")
	token := flag.String("token", "", "its API token")
	group := flag.String("group", "k3s-agents", "the host group to create VMs in")
	flag.Parse()

	ctx, cancel := context.WithTimeout(context.Background(), overall)
	defer cancel()
	if !newVisit(*url, *token, *group).run(ctx) {
		cancel()
		os.Exit(1)
	}
}

// visit is one run against one daemon. Checks build on what earlier ones created.
type visit struct {
	client   *slicer.SlicerClient
	stranger *slicer.SlicerClient // with a token that is not the daemon's
	group    string
	shape    slicer.SlicerHostGroup
	secret   string
	// tagPrefix is that of this run alone, so that VMs of others are neither counted nor removed.
	tagPrefix string
	whole     vm // persistent, as large as its host group allows, created with wait=agent
	small     vm // neither, created with wait=userdata
}

// vm is what was ordered and what the daemon answered.
type vm struct {
	tags    []string
	created slicer.SlicerCreateNodeResponse
}

func newVisit(url, token, group string) *visit {
	run := time.Now().UnixNano()
	prefix := fmt.Sprintf("slicer-sdk/run=%d.", run)
	return &visit{
		client:    slicer.NewSlicerClient(url, token, userAgent, nil),
		stranger:  slicer.NewSlicerClient(url, token+"-wrong", userAgent, nil),
		group:     group,
		secret:    fmt.Sprintf("slicer-sdk-%d", run),
		tagPrefix: prefix,
		// The second tag begins with the first: an exact match must not take it for a prefix. The characters are
		// those that a query must escape.
		whole: vm{tags: []string{prefix + "1", fmt.Sprintf("a=b&c d#%d", run)}},
		small: vm{tags: []string{prefix + "12"}},
	}
}

// run carries out the checks and tells whether all passed.
func (v *visit) run(ctx context.Context) bool {
	checks := []struct {
		what  string
		check func(context.Context) error
	}{
		{"the server tells its version and platform", v.info},
		{"a wrong token is unauthorized everywhere", v.wrongToken},
		{"host groups tell their name, architecture, CPUs and RAM", v.hostGroups},
		{"a secret is created and listed without its content", v.createSecret},
		{"a secret that exists is a conflict", v.createSecretAgain},
		{"the content of a secret is patched alone", v.patchContent},
		{"the permissions of a secret are patched alone", v.patchPermissions},
		{"a secret that does not exist is not found", v.missingSecret},
		{"a VM is created with wait=agent, and its agent answers at once", v.createWhole},
		{"the health of a VM tells when its userdata ran and how it ended", v.health},
		{"a VM is created with wait=userdata, and its userdata has succeeded", v.createSmall},
		{"a VM that is not ready in time is a time-out, and is removed", v.createTooSlow},
		{"a VM above the limits of its host group is refused", v.createTooLarge},
		{"an unknown host group is not found", v.unknownGroup},
		{"the nodes of the host group are as they were ordered", v.groupNodes},
		{"nodes are found by an exact tag", v.nodesByTag},
		{"nodes are found by a prefix of a tag", v.nodesByPrefix},
		{"a VM is described as it is listed", v.describe},
		{"the serial log is cut to a number of lines", v.logs},
		{"the statistics of all VMs are readable", v.stats},
		{"a VM is paused and resumed", v.pauseAndResume},
		{"a VM is suspended and restored", v.suspendAndRestore},
		{"a persistent VM is shut down and relaunched with its disk", v.shutdownAndRelaunch},
		{"an unknown VM is not found", v.unknownVM},
		{"VMs are deleted and no longer listed", v.delete},
		{"a VM that was deleted is not found", v.deleteAgain},
		{"nothing is left in the lists", v.nothingLeft},
		{"a secret is deleted and no longer listed", v.deleteSecret},
	}
	checking, cancel := context.WithTimeout(ctx, overall-forTidying)
	defer cancel()
	passed, failed := 0, 0
	for _, c := range checks {
		err := checking.Err()
		if err == nil {
			err = c.check(checking)
		}
		if err != nil {
			failed++
			fmt.Printf("fail %s: %v\n", c.what, err)
			continue
		}
		passed++
		fmt.Printf("ok   %s\n", c.what)
	}
	if err := v.tidy(ctx); err != nil {
		failed++
		fmt.Printf("fail to tidy up: %v\n", err)
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	return failed == 0
}

// tidy removes what checks that failed have left behind.
func (v *visit) tidy(ctx context.Context) error {
	nodes, err := v.client.ListVMs(ctx, slicer.ListOptions{TagPrefix: v.tagPrefix})
	problems := []error{err}
	for _, node := range nodes {
		_, err := v.client.DeleteVM(ctx, node.HostGroup, node.Hostname)
		problems = append(problems, err)
	}
	secret, err := v.findSecret(ctx)
	problems = append(problems, err)
	if secret != nil {
		problems = append(problems, v.client.DeleteSecret(ctx, v.secret))
	}
	return all(problems...)
}

func (v *visit) info(ctx context.Context) error {
	info, err := v.client.GetInfo(ctx)
	if err != nil {
		return err
	}
	// Platform and Arch are Go's names for them, unlike the architecture of a host group.
	return all(
		is("version given", info.Version != "", true),
		is("git commit given", info.GitCommit != "", true),
		is("platform", info.Platform, "linux"),
		oneOf("arch", info.Arch, "amd64", "arm64"),
	)
}

func (v *visit) wrongToken(ctx context.Context) error {
	// There is none of this name to be deleted if a wrong token is good enough.
	unknown := v.group + "-999999"
	_, groups := v.stranger.GetHostGroups(ctx)
	_, nodes := v.stranger.ListVMs(ctx)
	_, created := v.stranger.CreateVM(ctx, v.group, slicer.SlicerCreateNodeRequest{Tags: []string{v.tagPrefix + "stranger"}})
	_, deleted := v.stranger.DeleteVM(ctx, v.group, unknown)
	_, described := v.stranger.DescribeVM(ctx, unknown)
	secret := v.stranger.CreateSecret(ctx, slicer.CreateSecretRequest{Name: v.secret, Data: encode("stranger")})
	unauthorized := func(what string, err error) error {
		return refused(what, err, http.StatusUnauthorized, "unauthorized")
	}
	return all(
		unauthorized("host groups", groups),
		unauthorized("nodes", nodes),
		unauthorized("create", created),
		unauthorized("delete", deleted),
		unauthorized("describe", described),
		is("describe with a typed status", slicer.IsAPIStatus(described, http.StatusUnauthorized), true),
		unauthorized("create a secret", secret),
		v.nothingLeft(ctx),
	)
}

func (v *visit) hostGroups(ctx context.Context) error {
	groups, err := v.client.GetHostGroups(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(groups, func(group slicer.SlicerHostGroup) bool { return group.Name == v.group })
	if at < 0 {
		return fmt.Errorf("%s is not among %+v", v.group, groups)
	}
	v.shape = groups[at]
	return all(
		oneOf("arch", v.shape.Arch, "x86_64", "aarch64"),
		is("CPUs above 0", v.shape.CPUs > 0, true),
		is("RAM of at least 1 GiB", v.shape.RamBytes >= slicer.GiB(1), true),
	)
}

func (v *visit) createSecret(ctx context.Context) error {
	request := slicer.CreateSecretRequest{Name: v.secret, Data: encode("first"), Permissions: "0640", UID: 7, GID: 8}
	if err := v.client.CreateSecret(ctx, request); err != nil {
		return err
	}
	return v.secretIs(ctx, slicer.Secret{Name: v.secret, Size: 5, Permissions: "0640", UID: 7, GID: 8})
}

func (v *visit) createSecretAgain(ctx context.Context) error {
	request := slicer.CreateSecretRequest{Name: v.secret, Data: encode("something else")}
	if err := v.client.CreateSecret(ctx, request); !errors.Is(err, slicer.ErrSecretExists) {
		return fmt.Errorf("got %v, want %v", err, slicer.ErrSecretExists)
	}
	return v.secretIs(ctx, slicer.Secret{Name: v.secret, Size: 5, Permissions: "0640", UID: 7, GID: 8})
}

func (v *visit) patchContent(ctx context.Context) error {
	if err := v.client.PatchSecret(ctx, v.secret, slicer.UpdateSecretRequest{Data: encode("the second")}); err != nil {
		return err
	}
	return v.secretIs(ctx, slicer.Secret{Name: v.secret, Size: 10, Permissions: "0640", UID: 7, GID: 8})
}

// The SDK cannot leave the content out: it sends an empty one, which must not empty the secret.
func (v *visit) patchPermissions(ctx context.Context) error {
	if err := v.client.PatchSecret(ctx, v.secret, slicer.UpdateSecretRequest{Permissions: "0600", UID: 9}); err != nil {
		return err
	}
	return v.secretIs(ctx, slicer.Secret{Name: v.secret, Size: 10, Permissions: "0600", UID: 9, GID: 8})
}

func (v *visit) missingSecret(ctx context.Context) error {
	missing := v.secret + "-missing"
	patched := v.client.PatchSecret(ctx, missing, slicer.UpdateSecretRequest{Data: encode("x")})
	deleted := v.client.DeleteSecret(ctx, missing)
	return all(
		refused("patch", patched, http.StatusNotFound, ""),
		refused("delete", deleted, http.StatusNotFound, ""),
	)
}

func (v *visit) createWhole(ctx context.Context) error {
	request := slicer.SlicerCreateNodeRequest{
		Persistent: true,
		Userdata:   userdata,
		Tags:       v.whole.tags,
		Secrets:    []string{v.secret},
	}
	if err := v.create(ctx, &v.whole, request, slicer.SlicerCreateNodeWaitAgent); err != nil {
		return err
	}
	// Without statistics the SDK asks with HEAD.
	_, err := v.client.GetAgentHealth(ctx, v.whole.created.Hostname, false)
	return err
}

// The VM was created with wait=agent: its userdata may still run when this begins.
func (v *visit) health(ctx context.Context) error {
	hostname := v.whole.created.Hostname
	var health *slicer.SlicerAgentHealthResponse
	err := eventually(ctx, "userdata has run", func() (ran bool, err error) {
		health, err = v.client.GetAgentHealth(ctx, hostname, true)
		if err != nil {
			return false, err
		}
		if !health.UserdataRan && health.UserdataExitCode != nil {
			return false, fmt.Errorf("userdata has the exit code %d before it ran", *health.UserdataExitCode)
		}
		return health.UserdataRan, nil
	})
	if err != nil {
		return err
	}
	return all(
		is("hostname", health.Hostname, hostname),
		is("IP", health.IP, v.whole.created.IPAddress().String()),
		is("agent version given", health.AgentVersion != "", true),
		// The documents do not agree on the unit.
		is("agent uptime above 0", health.AgentUptime > 0, true),
		is("system uptime above 0", health.SystemUptime > 0, true),
		userdataSucceeded(health),
	)
}

func (v *visit) createSmall(ctx context.Context) error {
	request := slicer.SlicerCreateNodeRequest{
		CPUs:     1,
		RamBytes: slicer.GiB(1),
		Userdata: userdata,
		Tags:     v.small.tags,
		Secrets:  []string{v.secret},
	}
	if err := v.create(ctx, &v.small, request, slicer.SlicerCreateNodeWaitUserdata); err != nil {
		return err
	}
	health, err := v.client.GetAgentHealth(ctx, v.small.created.Hostname, true)
	if err != nil {
		return err
	}
	return userdataSucceeded(health)
}

// create creates a VM and looks at what is answered.
func (v *visit) create(
	ctx context.Context, to *vm, request slicer.SlicerCreateNodeRequest, wait slicer.SlicerCreateNodeWaitFor,
) error {
	options := slicer.SlicerCreateNodeOptions{Wait: wait, Timeout: waitTimeout}
	created, err := v.client.CreateVMWithOptions(ctx, v.group, request, options)
	if err != nil {
		return err
	}
	to.created = *created
	named := regexp.MustCompile("^" + regexp.QuoteMeta(v.group) + "-[0-9]+$")
	return all(
		is(fmt.Sprintf("hostname %q is the host group with a number", created.Hostname), named.MatchString(created.Hostname), true),
		is("host group", created.HostGroup, v.group),
		is(fmt.Sprintf("IP %q is readable", created.IP), created.IPAddress() != nil, true),
		oneOf("arch", created.Arch, "amd64", "arm64"),
		isNow("created", created.CreatedAt),
	)
}

func (v *visit) createTooSlow(ctx context.Context) error {
	tag := v.tagPrefix + "slow"
	request := slicer.SlicerCreateNodeRequest{CPUs: 1, RamBytes: slicer.GiB(1), Userdata: userdata, Tags: []string{tag}}
	options := slicer.SlicerCreateNodeOptions{Wait: slicer.SlicerCreateNodeWaitUserdata, Timeout: time.Millisecond}
	_, err := v.client.CreateVMWithOptions(ctx, v.group, request, options)
	return all(
		refused("create", err, http.StatusRequestTimeout, ""),
		v.listed(ctx, slicer.ListOptions{Tag: tag}),
	)
}

func (v *visit) createTooLarge(ctx context.Context) error {
	tag := v.tagPrefix + "large"
	request := slicer.SlicerCreateNodeRequest{CPUs: v.shape.CPUs + 1, Tags: []string{tag}}
	_, cpus := v.client.CreateVM(ctx, v.group, request)
	request = slicer.SlicerCreateNodeRequest{RamBytes: v.shape.RamBytes + slicer.GiB(1), Tags: []string{tag}}
	_, ram := v.client.CreateVM(ctx, v.group, request)
	return all(
		refused("CPUs", cpus, http.StatusBadRequest, ""),
		refused("RAM", ram, http.StatusBadRequest, ""),
		v.listed(ctx, slicer.ListOptions{Tag: tag}),
	)
}

func (v *visit) unknownGroup(ctx context.Context) error {
	unknown := v.group + "-unknown"
	tag := v.tagPrefix + "unknown"
	_, created := v.client.CreateVM(ctx, unknown, slicer.SlicerCreateNodeRequest{Tags: []string{tag}})
	_, deleted := v.client.DeleteVM(ctx, unknown, v.whole.created.Hostname)
	return all(
		refused("create", created, http.StatusNotFound, unknown),
		refused("delete", deleted, http.StatusNotFound, ""),
		v.listed(ctx, slicer.ListOptions{TagPrefix: v.tagPrefix}, v.whole, v.small),
	)
}

func (v *visit) groupNodes(ctx context.Context) error {
	nodes, err := v.client.GetHostGroupNodes(ctx, v.group)
	if err != nil {
		return err
	}
	whole, small := find(nodes, v.whole), find(nodes, v.small)
	if whole == nil || small == nil {
		return fmt.Errorf("not both of %s and %s are in %+v", v.whole.created.Hostname, v.small.created.Hostname, nodes)
	}
	return all(
		v.isAsOrdered(whole, v.whole),
		is("CPUs by default", whole.CPUs, v.shape.CPUs),
		is("RAM by default", whole.RamBytes, v.shape.RamBytes),
		is("persistent when asked for", whole.Persistent, true),
		v.isAsOrdered(small, v.small),
		is("CPUs as asked for", small.CPUs, 1),
		is("RAM as asked for", small.RamBytes, slicer.GiB(1)),
		// The SDK cannot say false: it leaves the field out.
		is("persistent by default", small.Persistent, false),
	)
}

// isAsOrdered compares a listed node with the answer to its creation. Two things are written differently there: the
// address has its prefix length, and the architecture is Go's name for it.
func (v *visit) isAsOrdered(node *slicer.SlicerNode, want vm) error {
	return all(
		is("host group", node.HostGroup, v.group),
		is("IP", node.IP, want.created.IPAddress().String()),
		is("created", node.CreatedAt.Equal(want.created.CreatedAt), true),
		is("arch", node.Arch, v.shape.Arch),
		is("tags", strings.Join(node.Tags, ","), strings.Join(want.tags, ",")),
		is("status", node.Status, "Running"),
	)
}

func (v *visit) nodesByTag(ctx context.Context) error {
	return all(
		v.listed(ctx, slicer.ListOptions{Tag: v.whole.tags[0]}, v.whole),
		v.listed(ctx, slicer.ListOptions{Tag: v.whole.tags[1]}, v.whole),
		v.listed(ctx, slicer.ListOptions{Tag: v.small.tags[0]}, v.small),
		v.listed(ctx, slicer.ListOptions{Tag: v.tagPrefix}),
	)
}

func (v *visit) nodesByPrefix(ctx context.Context) error {
	return all(
		v.listed(ctx, slicer.ListOptions{TagPrefix: v.tagPrefix}, v.whole, v.small),
		v.listed(ctx, slicer.ListOptions{TagPrefix: v.small.tags[0]}, v.small),
		v.listed(ctx, slicer.ListOptions{TagPrefix: v.tagPrefix + "nothing"}),
	)
}

// listed asks for nodes and fails unless they are exactly the ones that are wanted.
func (v *visit) listed(ctx context.Context, options slicer.ListOptions, want ...vm) error {
	nodes, err := v.client.ListVMs(ctx, options)
	if err != nil {
		return fmt.Errorf("list %+v: %w", options, err)
	}
	var got, wanted []string
	for _, node := range nodes {
		got = append(got, node.Hostname)
	}
	for _, vm := range want {
		wanted = append(wanted, vm.created.Hostname)
	}
	slices.Sort(got)
	slices.Sort(wanted)
	return is(fmt.Sprintf("list %+v", options), fmt.Sprint(got), fmt.Sprint(wanted))
}

func (v *visit) describe(ctx context.Context) error {
	described, err := v.client.DescribeVM(ctx, v.small.created.Hostname)
	if err != nil {
		return err
	}
	return all(
		is("hostname", described.Hostname, v.small.created.Hostname),
		is("CPUs", described.CPUs, 1),
		is("RAM", described.RamBytes, slicer.GiB(1)),
		v.isAsOrdered(&described.SlicerNode, v.small),
	)
}

func userdataSucceeded(health *slicer.SlicerAgentHealthResponse) error {
	if !health.UserdataRan || health.UserdataExitCode == nil {
		return errors.New("userdata has not run, or its exit code is not told")
	}
	return is("exit code of userdata", *health.UserdataExitCode, 0)
}

func (v *visit) logs(ctx context.Context) error {
	hostname := v.small.created.Hostname
	whole, err := v.client.GetVMLogs(ctx, hostname, 0)
	if err != nil {
		return err
	}
	// A negative number makes the SDK leave the parameter out.
	unasked, err := v.client.GetVMLogs(ctx, hostname, -1)
	if err != nil {
		return err
	}
	last, err := v.client.GetVMLogs(ctx, hostname, 2)
	if err != nil {
		return err
	}
	lines := linesOf(whole.Content)
	if len(lines) < 3 {
		return fmt.Errorf("too short to be cut: %q", whole.Content)
	}
	return all(
		is("hostname", whole.Hostname, hostname),
		is("lines of the whole", whole.Lines, len(lines)),
		is("something without a number", unasked.Content != "", true),
		is("lines of the end", last.Lines, 2),
		is("the end", strings.Join(linesOf(last.Content), "\n"), strings.Join(lines[len(lines)-2:], "\n")),
	)
}

func linesOf(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func (v *visit) stats(ctx context.Context) error {
	stats, err := v.client.GetVMStats(ctx, "")
	if err != nil {
		return err
	}
	hostname := v.small.created.Hostname
	at := slices.IndexFunc(stats, func(stat slicer.SlicerNodeStat) bool { return stat.Hostname == hostname })
	if at < 0 {
		return fmt.Errorf("%s is not among %+v", hostname, stats)
	}
	stat := stats[at]
	if stat.Snapshot == nil {
		return fmt.Errorf("no snapshot of %s: %q", hostname, stat.Error)
	}
	s := stat.Snapshot
	ram := uint64(slicer.GiB(1))
	return all(
		is("IP", stat.IP, v.small.created.IPAddress().String()),
		is("created", stat.CreatedAt.Equal(v.small.created.CreatedAt), true),
		is("error", stat.Error, ""),
		is("hostname in the snapshot", s.Hostname, hostname),
		is("arch given", s.Arch != "", true),
		isNow("taken", s.Timestamp),
		is("uptime given", s.Uptime != "", true),
		is("CPUs", s.TotalCPUS, 1),
		// A guest sees a little less than it was given.
		is(fmt.Sprintf("%d bytes of memory are most of the RAM", s.TotalMemory), s.TotalMemory > ram/2 && s.TotalMemory <= ram, true),
		is("memory in use", s.MemoryUsed > 0 && s.MemoryUsed < s.TotalMemory, true),
		is("memory available", s.MemoryAvailable > 0 && s.MemoryAvailable < s.TotalMemory, true),
		is("memory in percent", s.MemoryUsedPercent > 0 && s.MemoryUsedPercent < 100, true),
		is("load", s.LoadAvg1 >= 0 && s.LoadAvg5 > 0 && s.LoadAvg15 > 0, true),
		is("open files", s.OpenFiles > 0, true),
		is("disk", s.DiskSpaceUsed > 0 && s.DiskSpaceUsed+s.DiskSpaceFree <= s.DiskSpaceTotal, true),
		is("disk in percent", s.DiskSpaceUsedPercent > 0 && s.DiskSpaceUsedPercent < 100, true),
	)
}

func (v *visit) pauseAndResume(ctx context.Context) error {
	hostname := v.small.created.Hostname
	if err := v.client.PauseVM(ctx, hostname); err != nil {
		return err
	}
	if err := v.becomes(ctx, v.small, "Paused"); err != nil {
		return err
	}
	if err := v.client.ResumeVM(ctx, hostname); err != nil {
		return err
	}
	if err := v.becomes(ctx, v.small, "Running"); err != nil {
		return err
	}
	return v.hasItsDisk(ctx, v.small)
}

func (v *visit) suspendAndRestore(ctx context.Context) error {
	hostname := v.whole.created.Hostname
	if err := v.client.SuspendVM(ctx, hostname); err != nil {
		return err
	}
	if err := v.becomes(ctx, v.whole, "Stopped"); err != nil {
		return err
	}
	if err := v.client.RestoreVM(ctx, hostname); err != nil {
		return err
	}
	if err := v.becomes(ctx, v.whole, "Running"); err != nil {
		return err
	}
	return v.hasItsDisk(ctx, v.whole)
}

func (v *visit) shutdownAndRelaunch(ctx context.Context) error {
	hostname := v.whole.created.Hostname
	if err := v.client.Shutdown(ctx, hostname, &slicer.SlicerShutdownRequest{Action: "shutdown"}); err != nil {
		return err
	}
	if err := v.becomes(ctx, v.whole, "Stopped"); err != nil {
		return err
	}
	relaunched, err := v.client.RelaunchVM(ctx, hostname)
	if err != nil {
		return err
	}
	if err := all(
		is("hostname", relaunched.Hostname, hostname),
		is("host group", relaunched.HostGroup, v.group),
		is("IP is readable", relaunched.IPAddress() != nil, true),
	); err != nil {
		return err
	}
	if err := v.becomes(ctx, v.whole, "Running"); err != nil {
		return err
	}
	_, err = v.client.RelaunchVM(ctx, hostname)
	return all(refused("relaunch of a VM that runs", err, http.StatusConflict, ""), v.hasItsDisk(ctx, v.whole))
}

// becomes waits for a status in the list: a change of power is only initiated when it is answered.
func (v *visit) becomes(ctx context.Context, which vm, status string) error {
	return eventually(ctx, which.created.Hostname+" is "+status, func() (bool, error) {
		nodes, err := v.client.ListVMs(ctx)
		if err != nil {
			return false, err
		}
		node := find(nodes, which)
		if node == nil {
			return false, fmt.Errorf("%s is not listed", which.created.Hostname)
		}
		return node.Status == status, nil
	})
}

// hasItsDisk waits for the agent. The disk remembers that userdata has run, which it does once.
func (v *visit) hasItsDisk(ctx context.Context, which vm) error {
	var health *slicer.SlicerAgentHealthResponse
	err := eventually(ctx, "agent of "+which.created.Hostname+" answers", func() (bool, error) {
		var err error
		health, err = v.client.GetAgentHealth(ctx, which.created.Hostname, true)
		// 400 says that the agent is not up yet.
		if refused("health", err, http.StatusBadRequest, "") == nil {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	return userdataSucceeded(health)
}

func (v *visit) unknownVM(ctx context.Context) error {
	unknown := v.group + "-999999"
	_, health := v.client.GetAgentHealth(ctx, unknown, true)
	_, logs := v.client.GetVMLogs(ctx, unknown, 1)
	_, stats := v.client.GetVMStats(ctx, unknown)
	_, relaunched := v.client.RelaunchVM(ctx, unknown)
	return all(
		refused("health", health, http.StatusNotFound, unknown),
		refused("logs", logs, http.StatusNotFound, unknown),
		refused("stats", stats, http.StatusNotFound, unknown),
		refused("pause", v.client.PauseVM(ctx, unknown), http.StatusNotFound, unknown),
		refused("resume", v.client.ResumeVM(ctx, unknown), http.StatusNotFound, unknown),
		refused("relaunch", relaunched, http.StatusNotFound, unknown),
	)
}

func (v *visit) delete(ctx context.Context) error {
	deleted, err := v.client.DeleteVM(ctx, v.group, v.whole.created.Hostname)
	if err != nil {
		return err
	}
	if err := all(
		is("message given", deleted.Message != "", true),
		oneOf("disk removed", deleted.DiskRemoved, "true", "false"),
		v.listed(ctx, slicer.ListOptions{TagPrefix: v.tagPrefix}, v.small),
	); err != nil {
		return err
	}
	_, err = v.client.DeleteVM(ctx, v.group, v.small.created.Hostname)
	return err
}

func (v *visit) deleteAgain(ctx context.Context) error {
	hostname := v.whole.created.Hostname
	_, deleted := v.client.DeleteVM(ctx, v.group, hostname)
	_, health := v.client.GetAgentHealth(ctx, hostname, true)
	return all(
		refused("delete", deleted, http.StatusNotFound, hostname),
		refused("health", health, http.StatusNotFound, hostname),
	)
}

func (v *visit) nothingLeft(ctx context.Context) error {
	nodes, err := v.client.GetHostGroupNodes(ctx, v.group)
	if err != nil {
		return err
	}
	ours := func(tag string) bool { return strings.HasPrefix(tag, v.tagPrefix) }
	for _, node := range nodes {
		if slices.ContainsFunc(node.Tags, ours) {
			return fmt.Errorf("%s is still there", node.Hostname)
		}
	}
	return v.listed(ctx, slicer.ListOptions{TagPrefix: v.tagPrefix})
}

func (v *visit) deleteSecret(ctx context.Context) error {
	if err := v.client.DeleteSecret(ctx, v.secret); err != nil {
		return err
	}
	secret, err := v.findSecret(ctx)
	if err != nil {
		return err
	}
	return is("still listed", secret != nil, false)
}

func (v *visit) secretIs(ctx context.Context, want slicer.Secret) error {
	got, err := v.findSecret(ctx)
	if err != nil {
		return err
	}
	if got == nil {
		return fmt.Errorf("%s is not listed", want.Name)
	}
	return all(
		is("size", got.Size, want.Size),
		is("permissions", got.Permissions, want.Permissions),
		is("uid", got.UID, want.UID),
		is("gid", got.GID, want.GID),
	)
}

// findSecret is nil if there is none.
func (v *visit) findSecret(ctx context.Context) (*slicer.Secret, error) {
	secrets, err := v.client.ListSecrets(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(secrets, func(secret slicer.Secret) bool { return secret.Name == v.secret })
	if at < 0 {
		return nil, nil
	}
	return &secrets[at], nil
}

func find(nodes []slicer.SlicerNode, which vm) *slicer.SlicerNode {
	for i := range nodes {
		if nodes[i].Hostname == which.created.Hostname {
			return &nodes[i]
		}
	}
	return nil
}

// encode is how the content of a secret is sent.
func encode(content string) string {
	return base64.StdEncoding.EncodeToString([]byte(content))
}

// refused fails unless an error tells the status and the text. Most errors of the SDK are text alone.
func refused(what string, err error, status int, text string) error {
	if err == nil {
		return fmt.Errorf("%s succeeded, want %d", what, status)
	}
	told := fmt.Sprintf("%d %s", status, http.StatusText(status))
	if !strings.Contains(err.Error(), told) || !strings.Contains(strings.ToLower(err.Error()), text) {
		return fmt.Errorf("%s: got %q, want %s and %q in it", what, err, told, text)
	}
	return nil
}

func is[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

func oneOf(what, got string, want ...string) error {
	if !slices.Contains(want, got) {
		return fmt.Errorf("%s: got %q, want one of %q", what, got, want)
	}
	return nil
}

func isNow(what string, at time.Time) error {
	if time.Since(at).Abs() > clockSkew {
		return fmt.Errorf("%s at %s, which is not now", what, at)
	}
	return nil
}

// all is every problem on one line, or nil.
func all(problems ...error) error {
	var texts []string
	for _, problem := range problems {
		if problem != nil {
			texts = append(texts, problem.Error())
		}
	}
	if texts == nil {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}

// eventually asks again and again until the answer is yes.
func eventually(ctx context.Context, what string, ask func() (bool, error)) error {
	for {
		yes, err := ask()
		if err != nil || yes {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s: %w", what, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}
