{{- define "slicer.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* 50 characters at most, because suffixes follow and a Service's name has 63, and no dots. */}}
{{- define "slicer.fullname" -}}
{{- $name := include "slicer.name" . -}}
{{- $made := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- regexReplaceAll "-+$" (.Values.fullnameOverride | default $made | replace "." "-" | trunc 50) "" -}}
{{- end }}

{{/* Labels that never change, for selectors. */}}
{{- define "slicer.selectorLabels" -}}
app.kubernetes.io/name: {{ include "slicer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "slicer.labels" -}}
{{ include "slicer.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "slicer.autoscaler.serviceAccountName" -}}
{{- .Values.autoscaler.serviceAccount.name | default (ternary (printf "%s-autoscaler" (include "slicer.fullname" .)) "default" .Values.autoscaler.serviceAccount.create) -}}
{{- end }}

{{/* In mode sidecar a pod has one account: the cluster-autoscaler's is that of both. */}}
{{- define "slicer.provider.serviceAccountName" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- include "slicer.autoscaler.serviceAccountName" . -}}
{{- else -}}
{{- .Values.provider.serviceAccount.name | default (ternary (printf "%s-provider" (include "slicer.fullname" .)) "default" .Values.provider.serviceAccount.create) -}}
{{- end -}}
{{- end }}

{{- define "slicer.cloudConfigSecret" -}}
{{- .Values.cloudConfig.existingSecret | default (printf "%s-cloud-config" (include "slicer.fullname" .)) -}}
{{- end }}

{{/* Whether the two talk over the network and prove who they are. */}}
{{- define "slicer.mtls" -}}
{{- if and (eq .Values.mode "standalone") .Values.tls.enabled }}true{{ end -}}
{{- end }}

{{- define "slicer.serverTlsSecret" -}}
{{- .Values.tls.server.existingSecret | default (printf "%s-provider-tls" (include "slicer.fullname" .)) -}}
{{- end }}

{{- define "slicer.clientTlsSecret" -}}
{{- .Values.tls.client.existingSecret | default (printf "%s-autoscaler-tls" (include "slicer.fullname" .)) -}}
{{- end }}

{{/* The names of clients that may connect. cert-manager's certificate carries the first one. */}}
{{- define "slicer.clientNames" -}}
{{- $made := .Values.tls.certManager.enabled | ternary (list (printf "%s-autoscaler" (include "slicer.fullname" .))) list -}}
{{- .Values.tls.clientNames | default $made | toJson -}}
{{- end }}

{{/* A flag and its value. Helm reads whole numbers of values files as floating ones, and prints large ones as 1e+06. */}}
{{- define "slicer.flag" -}}
{{- $whole := and (kindIs "float64" .value) (eq .value (floor .value)) -}}
{{- printf "--%s=%v" .flag ($whole | ternary (int64 .value) .value) | quote -}}
{{- end }}

{{/* What the cluster-autoscaler connects to in mode standalone; the provider's certificate names it. */}}
{{- define "slicer.provider.host" -}}
{{- printf "%s-provider.%s.svc" (include "slicer.fullname" .) .Release.Namespace -}}
{{- end }}

{{/*
The affinity of the values, and in each of its required terms (they are alternatives) that the node is none of Slicer's:
a pod of this chart on a node that it could remove would take itself away.
*/}}
{{- define "slicer.affinity" -}}
{{- $affinity := deepCopy (.Values.affinity | default dict) -}}
{{- $node := $affinity.nodeAffinity | default dict -}}
{{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
{{- $elsewhere := dict "key" "slicer/hostgroup" "operator" "DoesNotExist" -}}
{{- $terms := list -}}
{{- range $required.nodeSelectorTerms | default (list dict) -}}
{{- $terms = append $terms (merge (dict "matchExpressions" (append (.matchExpressions | default list) $elsewhere)) .) -}}
{{- end -}}
{{- $node = merge (dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms)) $node -}}
{{- toYaml (merge (dict "nodeAffinity" $node) $affinity) -}}
{{- end }}

{{/* What the pods of both have in common. */}}
{{- define "slicer.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
affinity:
  {{- include "slicer.affinity" . | nindent 2 }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "slicer.podMetadata" -}}
{{- with .Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
labels:
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "slicer.cloudConfigPath" -}}
/etc/slicer/{{ .Values.cloudConfig.existingSecret | empty | ternary "cloud-config" .Values.cloudConfig.key }}
{{- end }}

{{/* The provider's container, in whichever pod it is. */}}
{{- define "slicer.provider.container" -}}
- name: slicer-cloud-provider
  image: "{{ .Values.provider.image.repository }}:{{ .Values.provider.image.tag | default .Chart.Version }}"
  imagePullPolicy: {{ .Values.provider.image.pullPolicy }}
  {{- if eq .Values.mode "sidecar" }}
  # A native sidecar: it starts before the cluster-autoscaler and ends after it.
  restartPolicy: Always
  {{- end }}
  args:
    - serve
    - --cloud-config={{ include "slicer.cloudConfigPath" . }}
    {{- if eq .Values.mode "sidecar" }}
    - --listen=unix:///run/slicer/provider.sock
    {{- else }}
    - --listen={{ .Values.provider.listenAddress }}:8086
    {{- if .Values.tls.enabled }}
    - --tls-cert=/etc/slicer-tls/tls.crt
    - --tls-key=/etc/slicer-tls/tls.key
    - --tls-client-ca=/etc/slicer-tls/ca.crt
    {{- range include "slicer.clientNames" . | fromJsonArray }}
    - {{ printf "--tls-client-name=%s" . | quote }}
    {{- end }}
    {{- else }}
    - --allow-insecure
    {{- end }}
    {{- end }}
    # Beyond loopback for probes and Prometheus: it is read only and shows no secret.
    - --admin-listen={{ .Values.provider.listenAddress }}:8087
    - --log-format={{ .Values.provider.logFormat }}
    - {{ printf "--log-level=%s" .Values.provider.logLevel | quote }}
    {{- range .Values.provider.extraArgs }}
    - {{ . | quote }}
    {{- end }}
  env:
    # It tells of launches, failures and hosts in events of its pod.
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    - name: POD_NAMESPACE
      valueFrom:
        fieldRef:
          fieldPath: metadata.namespace
    - name: POD_UID
      valueFrom:
        fieldRef:
          fieldPath: metadata.uid
    {{- with .Values.provider.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- if eq .Values.mode "standalone" }}
    - name: grpc
      containerPort: 8086
    {{- end }}
    - name: admin
      containerPort: 8087
  # Ready once every host was tried; in mode sidecar the cluster-autoscaler starts only then.
  startupProbe:
    httpGet:
      path: /readyz
      port: admin
    periodSeconds: 1
    failureThreshold: 120
  livenessProbe:
    httpGet:
      path: /healthz
      port: admin
    periodSeconds: 10
    timeoutSeconds: 5
  readinessProbe:
    httpGet:
      path: /readyz
      port: admin
    periodSeconds: 10
    timeoutSeconds: 5
  {{- with .Values.provider.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.containerSecurityContext | nindent 4 }}
  volumeMounts:
    # As a whole, never with subPath: Kubernetes swaps the files of a mounted directory when the Secret changes, and
    # the server notices and reloads by itself. So no checksum of it makes the pod start anew.
    - name: cloud-config
      mountPath: /etc/slicer
      readOnly: true
    {{- if eq .Values.mode "sidecar" }}
    - name: socket
      mountPath: /run/slicer
    {{- else if .Values.tls.enabled }}
    - name: tls
      mountPath: /etc/slicer-tls
      readOnly: true
    {{- end }}
    {{- with .Values.provider.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* The volume behind the provider's configuration. */}}
{{- define "slicer.provider.volume" -}}
- name: cloud-config
  secret:
    secretName: {{ include "slicer.cloudConfigSecret" . }}
    # 0440: for the group of the security context.
    defaultMode: 288
{{- end }}
