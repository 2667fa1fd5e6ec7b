// The rules of @graphql-eslint's schema-recommended and of its Relay set, for the SDL of the folder that ESLint runs in.
// What fights the names of the reference's listing, or Relay's own reading of Relay, is set below, each with its reason.
import graphql from "@graphql-eslint/eslint-plugin";

const { rules: recommended } = graphql.configs["flat/schema-recommended"];
const { rules: relay } = graphql.configs["flat/schema-relay"];

// Values: they have no identity of their own, so that no cache should keep them by one.
const values = {
  actions: ["ActionError", "ActionResult"],
  aggregates: ["CallsAggregateRow", "UsageTotals", "UsageTreeNode", "TraceTotals", "TraceTreeNode"],
  comparisons: [
    ...["ComparedExample", "ComparedMetric", "ComparedNumber", "ComparedResult", "ComparedRunMetric"],
    "EvaluationComparison",
  ],
  costs: ["CostCreateResId", "LLMCostComponent", "LLMCostSchema", "LLMUsageSchema", "ModelUsage"],
  // A run and a prediction are calls, which have the refs.
  evaluations: ["EvaluationMetric", "EvaluationPrediction", "EvaluationResult", "EvaluationRun", "EvaluationScore"],
  statuses: [
    ...["EvaluationStatusComplete", "EvaluationStatusFailed", "EvaluationStatusNotFound", "EvaluationStatusRunning"],
    "ExportTracePartialSuccess",
  ],
  search: ["CallSearchHighlight", "CallSearchHit", "CallSearchRange"],
  rest: ["FeedbackTypeStats", "GeneratedImage", "ObjFile", "PageInfo", "ResolvedRef", "TableStatsRow"],
};

// A rule that leaves out what is excepted by name, and reports an exception of which there is nothing to report.
function excepting(rule, names) {
  const create = (context) => {
    const left = new Set(names);
    const report = (found) => {
      const name = found.data?.typeName ? `${found.data.typeName}.${found.data.fieldName}` : found.node.value;
      if (names.includes(name)) left.delete(name);
      else context.report(found);
    };
    const visitors = rule.create(Object.create(context, { report: { value: report } }));
    const atEnd = (node) => left.forEach((name) => context.report({ node, message: `${name} needs no exception.` }));
    return { ...visitors, "Document:exit": atEnd };
  };
  return { ...rule, create };
}

const rules = {
  ...graphql.rules,
  // Names of the listing, whose rule is that they stay: Feedback.feedback_type, and the trace_id by which calls, filters
  // and statistics name a trace, and so does a trace itself.
  "no-typename-prefix": excepting(graphql.rules["no-typename-prefix"], ["Feedback.feedbackType", "Trace.traceId"]),
  // Relay's specification lets an edge lead to any type, and the rule's part on `Node` is its own. What these lead to is
  // not found by a ref, so that it cannot be a `Node`: rows of evaluations, which are made by grouping; runs, of which
  // the call has the ref; the place of a call in its trace's tree; and what a search found of a call, which has the ref.
  "relay-edge-types": excepting(graphql.rules["relay-edge-types"], [
    ...["CallSearchHitEdge", "ComparedExampleEdge", "EvaluationResultEdge", "EvaluationRunEdge", "TraceTreeNodeEdge"],
  ]),
};

export default [
  {
    files: ["**/*.graphql"],
    languageOptions: {
      parser: graphql.parser,
      parserOptions: { graphQLConfig: { schema: "graphql_schema/schema.graphql" } },
    },
    plugins: { "@graphql-eslint": { ...graphql, rules } },
    rules: {
      ...recommended,
      ...relay,
      "@graphql-eslint/strict-id-in-types": [
        "error",
        {
          // The global id is the ref (`interface Node`); `id` is one within a project, as the listing has it.
          acceptedIdNames: ["ref"],
          exceptions: { suffixes: ["Res", "Event", "Connection", "Edge"], types: Object.values(values).flat() },
        },
      ],
      // Relay itself has plain lists beside connections, and this rule would have edges also where there are no pages:
      // the items of a batch, the usage by model of a call, and `nodes` beside `edges`.
      "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false }],
    },
  },
];
