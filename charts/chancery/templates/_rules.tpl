{{- define "chancery.rulesOfNamespaces" -}}
# What people ask for. `get`: a request is looked at before what was bought is put aside, an issuer
# where a part of the day's orders could not be reserved at once.
- apiGroups: [chancery.dev]
  resources: [certificaterequests, issuers]
  verbs: [get, list, watch]
- apiGroups: [chancery.dev]
  resources: [certificaterequests/status, issuers/status]
  verbs: [update]
# Certificates, keys, records and credentials. Contents are read by name only (get). list and watch
# serve three watches that are limited to Chancery's labels and ask for metadata only; RBAC cannot
# express either limit, nor that only Chancery's own are written: admission.yaml does.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, get, list, patch, watch]
# Trust bundles, by name. list and watch serve a watch that is limited to Chancery's label and asks
# for metadata only.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch]
# What happened, for `kubectl describe`.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{- define "chancery.rulesOfCluster" -}}
{{- if eq (include "chancery.clusterIssuers" .) "true" -}}
# The issuers of the platform team.
- apiGroups: [chancery.dev]
  resources: [clusterissuers]
  verbs: [get, list, watch]
- apiGroups: [chancery.dev]
  resources: [clusterissuers/status]
  verbs: [update]
{{ end -}}
# Labels of namespaces, by which ClusterIssuers say whom they serve (spec.allow.namespaces). The
# watch asks for metadata only.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}

{{- define "chancery.subjects" -}}
- kind: ServiceAccount
  name: {{ include "chancery.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
