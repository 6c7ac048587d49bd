{{/* What everything is called: chancery, or the release where it has another name. */}}
{{- define "chancery.name" -}}
{{- if contains "chancery" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{ else }}{{ printf "%s-chancery" (.Release.Name | trunc 43 | trimSuffix "-") }}{{ end -}}
{{- end }}

{{- define "chancery.serviceAccount" -}}
{{- default (include "chancery.name" .) .Values.serviceAccount.name -}}
{{- end }}

{{/* The name by which the API server knows the operator. */}}
{{- define "chancery.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "chancery.serviceAccount" . }}
{{- end }}

{{- define "chancery.selector" -}}
app.kubernetes.io/name: chancery
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "chancery.labels" -}}
{{ include "chancery.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "chancery.image" -}}
{{- with .Values.image -}}
{{- if not .repository -}}
{{- fail "image.repository is not set. There is no published image: build one and push it with `make image IMAGE=<repository>:<tag> PUSH=1`, then say --set image.repository=<repository>" -}}
{{- end -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end }}

{{/* Where nothing is said they are served, as by values of before (helm upgrade --reuse-values). */}}
{{- define "chancery.clusterIssuers" -}}
{{ ne (toString .Values.clusterIssuers) "false" }}
{{- end }}

{{/* What the operator and whoever looks after it are told alike. */}}
{{- define "chancery.environment" -}}
- name: CHANCERY_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: CHANCERY_LEADER_ELECT
  value: {{ .Values.leaderElection.enabled | quote }}
{{- with .Values.watchNamespaces }}
- name: CHANCERY_WATCH_NAMESPACES
  value: {{ join "," . | quote }}
{{- end }}
{{- if eq (include "chancery.clusterIssuers" .) "false" }}
- name: CHANCERY_CLUSTER_ISSUERS
  value: "false"
{{- end }}
{{- with .Values.proxy.url }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.noProxy }}
- name: NO_PROXY
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "chancery.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "chancery.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The pod of `helm test`. The Service must not lead to it. */}}
{{- define "chancery.test" -}}
app.kubernetes.io/name: chancery-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What cannot work is refused before anything is installed. */}}
{{- define "chancery.check" -}}
{{- if and (not .Values.leaderElection.enabled) (gt (int .Values.replicas) 1) -}}
{{- fail "replicas is more than 1 and leaderElection.enabled is false: replicas would act at once. Set one of the two" -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled are both true: every figure would be counted twice. Set one of the two" -}}
{{- end -}}
{{- range (lookup "rbac.authorization.k8s.io/v1" "ClusterRoleBinding" "" "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $isOurs := eq (get $labels "app.kubernetes.io/name") "chancery" -}}
{{- $namespace := $isOurs | ternary (first (.subjects | default (list dict))).namespace $.Release.Namespace -}}
{{- if ne $namespace $.Release.Namespace -}}
{{- if or (not $.Values.watchNamespaces) (eq (get $labels "chancery.dev/watches") "all") -}}
{{- fail (printf "chancery is installed in namespace %s already, and two would act on the same requests. Upgrade that one, uninstall it, or have each watch namespaces of its own (watchNamespaces)" $namespace) -}}
{{- end -}}
{{- /* One of before does not say which it watches. */ -}}
{{- range splitList "," (get (.metadata.annotations | default dict) "chancery.dev/namespaces") -}}
{{- if has . $.Values.watchNamespaces -}}
{{- fail (printf "chancery in namespace %s watches namespace %s already, and two would act on the same requests. Take %s out of watchNamespaces here, or there first" $namespace . .) -}}
{{- end -}}
{{- end -}}
{{- /* One of before serves them. */ -}}
{{- if and (eq (include "chancery.clusterIssuers" $) "true") (ne (get $labels "chancery.dev/cluster-issuers") "false") -}}
{{- fail (printf "chancery in namespace %s serves ClusterIssuers already, and two would check them with different credentials and overwrite each other's answers. Set clusterIssuers=false here, or there first" $namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
