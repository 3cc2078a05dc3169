// Package accepted checks that Kubernetes takes the manifests of this project: it is the code
// of its API server that decodes them, sets their defaults and validates them. It is a module
// of its own, since that is large and nothing else needs it.
package accepted

import (
	"fmt"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/pod-security-admission/api"
	security "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// objects are what kustomize makes of the folder, decoded. A field that Kubernetes does not
// know, or that is there twice, is an error.
func objects(t *testing.T) map[string]runtime.Object {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "..")
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	all := make(map[string]runtime.Object)
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decoder.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", resource.CurId(), err)
		}
		all[resource.GetKind()+" "+resource.GetName()] = object
	}
	return all
}

func TestKubernetesTakesTheManifests(t *testing.T) {
	t.Parallel()
	all := objects(t)
	for name, object := range all {
		if errs := validate(t, object); len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
	}
	for _, want := range []string{
		"Deployment userd", "Service userd", "Service userd-servers", "Service userd-admin", "ServiceAccount userd",
		"PodDisruptionBudget userd", "NetworkPolicy userd",
	} {
		if all[want] == nil {
			t.Errorf("there is no %s", want)
		}
	}
}

// validate is what the API server does with a new object.
func validate(t *testing.T, object runtime.Object) field.ErrorList {
	t.Helper()
	legacyscheme.Scheme.Default(object)
	if about, err := meta.Accessor(object); err == nil {
		about.SetNamespace("users")
	}
	internal, err := legacyscheme.Scheme.ConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		t.Fatal(err)
	}
	switch object := internal.(type) {
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(object, corevalidation.PodValidationOptions{})
	case *core.Service:
		if object.Spec.ClusterIP != "" {
			object.Spec.ClusterIPs = []string{object.Spec.ClusterIP} // As the API server does before.
		}
		return corevalidation.ValidateServiceCreate(object)
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(object)
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(object, policyvalidation.PodDisruptionBudgetValidationOptions{})
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(object, networkingvalidation.NetworkPolicyValidationOptions{})
	}
	return field.ErrorList{field.InternalError(nil, fmt.Errorf("%T is not validated", internal))}
}

func deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	d, ok := objects(t)["Deployment userd"].(*appsv1.Deployment)
	if !ok {
		t.Fatal("there is no Deployment")
	}
	return d
}

// The strictest of the Pod Security Standards lets the pods in.
func TestPodsAreRestricted(t *testing.T) {
	t.Parallel()
	evaluator, err := security.NewEvaluator(security.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	pod := deployment(t).Spec.Template
	restricted := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(restricted, &pod.ObjectMeta, &pod.Spec) {
		if !result.Allowed {
			t.Errorf("%s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
}

// userd keeps to the memory that its container may have, so there is a limit, and no GOMEMLIMIT
// that could say something else.
func TestContainersHaveMemoryLimits(t *testing.T) {
	t.Parallel()
	spec := deployment(t).Spec.Template.Spec
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() {
			t.Errorf("%s has no limit of memory, or asks for no processor", container.Name)
		}
		if slices.ContainsFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == "GOMEMLIMIT" }) {
			t.Errorf("%s sets GOMEMLIMIT", container.Name)
		}
	}
}

func TestAMistakeIsNoticed(t *testing.T) {
	t.Parallel()
	d := deployment(t)
	d.Spec.Template.Spec.Containers[0].Ports[0].Name = "a name that is too long for a port"
	if errs := validate(t, d); len(errs) == 0 {
		t.Error("a port with a wrong name is taken")
	}
}
