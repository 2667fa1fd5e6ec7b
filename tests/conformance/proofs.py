"""The test that shows each class of the listing at work, by its file under tests/ and its name."""

from typing import Final

_SHOWN: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "graphql_schema/calls/test_reading.py": {
        "test_a_finished_call_reads_as_it_was_written": ("CallReadReq", "CallReadRes", "CallSchema"),
        "test_what_a_writer_put_under_weave_survives": ("SummaryMap", "SummaryInsertMap"),
        "test_pages_go_forward_and_backward_by_cursor": ("CallsQueryRes",),
        "test_stats_count_to_the_limit_and_sum_the_traces_of_roots": ("CallsQueryStatsReq", "CallsQueryStatsRes"),
        "test_the_filter_reaches_the_store_whole": ("CallsFilter",),
    },
    "graphql_schema/calls/test_querying.py": {
        "test_a_filter_and_a_query_must_both_hold": ("CallsQueryReq",),
        "test_a_sort_by_a_path_is_walked_by_cursor_both_ways": ("SortBy",),
    },
    "graphql_schema/calls/test_writing.py": {
        "test_ids_left_out_are_made_and_told": ("CallStartReq", "CallStartRes"),
        "test_a_start_at_the_edge_of_the_rules_is_stored": ("StartedCallSchemaForInsert",),
        "test_an_end_may_come_before_its_start": ("CallEndReq", "CallEndRes", "EndedCallSchemaForInsert"),
        "test_a_batch_answers_item_by_item": ("CallCreateBatchReq", "CallCreateBatchRes"),
        "test_an_item_is_exactly_one_of_start_and_end": ("CallBatchStartMode", "CallBatchEndMode"),
        "test_a_name_is_given_cleared_and_counted": ("CallUpdateReq", "CallUpdateRes"),
        "test_a_delete_takes_descendants_and_the_next_read_agrees": ("CallsDeleteReq", "CallsDeleteRes"),
    },
    "graphql_schema/feedback/test_writing.py": {
        "test_a_reaction_is_created_and_reads_as_it_is_stored": ("FeedbackCreateReq", "FeedbackCreateRes"),
        "test_a_batch_answers_in_its_order_or_names_the_item_at_fault": (
            "FeedbackCreateBatchReq",
            "FeedbackCreateBatchRes",
        ),
        "test_a_replacement_names_what_goes_and_takes_no_id_of_another": ("FeedbackReplaceReq", "FeedbackReplaceRes"),
        "test_a_purge_goes_by_ids_in_both_forms_of_the_query": ("FeedbackPurgeReq", "FeedbackPurgeRes"),
    },
    "graphql_schema/feedback/test_reading.py": {
        "test_a_list_is_asked_sorted_paged_and_counted": ("FeedbackQueryReq", "FeedbackQueryRes", "Feedback"),
        "test_calls_have_their_feedback_and_feedback_its_call": ("FeedbackDict",),
    },
    "graphql_schema/costs/test_calls.py": {
        "test_calls_cost_by_the_price_that_held_when_they_started": ("LLMCostSchema", "LLMUsageSchema"),
    },
    "graphql_schema/costs/test_prices.py": {
        "test_a_price_is_listed_as_it_was_set": (
            "CostCreateReq",
            "CostCreateRes",
            "CostCreateInput",
            "CostQueryOutput",
        ),
        "test_prices_are_asked_sorted_and_paged_within_their_project": ("CostQueryReq", "CostQueryRes"),
        "test_a_purge_takes_just_the_prices_of_the_project_that_it_names": ("CostPurgeReq", "CostPurgeRes"),
    },
    "graphql_schema/objects/test_objects.py": {
        "test_a_version_reads_as_it_was_made": (
            "ObjCreateReq",
            "ObjCreateRes",
            "ObjReadReq",
            "ObjReadRes",
            "ObjSchema",
            "ObjSchemaForInsert",
        ),
        "test_an_op_is_read_as_an_op_whatever_made_it": (
            "OpCreateReq",
            "OpCreateRes",
            "OpReadReq",
            "OpReadRes",
            "OpQueryReq",
            "OpQueryRes",
            "OpVersionFilter",
        ),
        "test_a_deleted_version_is_null": ("ObjDeleteReq", "ObjDeleteRes"),
        "test_objects_are_asked_sorted_and_paged": ("ObjQueryReq", "ObjQueryRes", "ObjectVersionFilter"),
    },
    "graphql_schema/tables/test_tables.py": {
        "test_a_table_is_created_and_read": (
            "TableCreateReq",
            "TableCreateRes",
            "TableSchemaForInsert",
            "TableCreateFromDigestsReq",
            "TableCreateFromDigestsRes",
        ),
        "test_rows_are_filtered_queried_and_sorted": ("TableQueryReq", "TableRowFilter", "TableRowSchema"),
        "test_pages_go_both_ways": ("TableQueryRes",),
        "test_updates_make_another_table": (
            "TableUpdateReq",
            "TableUpdateRes",
            "TableAppendSpec",
            "TableAppendSpecPayload",
            "TableInsertSpec",
            "TableInsertSpecPayload",
            "TablePopSpec",
            "TablePopSpecPayload",
        ),
        "test_tables_are_counted_and_sized": (
            "TableQueryStatsReq",
            "TableQueryStatsRes",
            "TableQueryStatsBatchReq",
            "TableQueryStatsBatchRes",
            "TableStatsRow",
        ),
    },
    "graphql_schema/threads/test_threads.py": {
        "test_a_thread_tells_all_its_fields_and_leads_to_its_calls": (
            "ThreadsQueryReq",
            "ThreadSchema",
            "ThreadsQueryFilter",
        ),
    },
    "graphql_schema/test_files.py": {
        "test_a_file_is_stored_and_read": (
            "FileCreateReq",
            "FileCreateRes",
            "FileContentReadReq",
            "FileContentReadRes",
        ),
        "test_stats_count_each_content_once": ("FilesStatsReq", "FilesStatsRes"),
    },
    "graphql_schema/test_refs.py": {
        "test_refs_answer_in_order": ("RefsReadBatchReq", "RefsReadBatchRes"),
    },
    "graphql_schema/test_projects.py": {
        "test_a_project_is_ensured_again_and_again": ("EnsureProjectExistsRes",),
        "test_a_project_has_all_that_was_stored_in_it": ("ProjectStatsReq", "ProjectStatsRes"),
    },
    "graphql_schema/test_otel.py": {
        "test_spans_are_stored_in_the_project_of_the_mutation": ("OtelExportReq", "OtelExportRes"),
        "test_what_is_rejected_is_told": ("ExportTracePartialSuccess",),
    },
    "graphql_schema/test_actions.py": {
        "test_words_are_looked_for_and_what_is_found_is_feedback": ("ActionsExecuteBatchReq", "ActionsExecuteBatchRes"),
    },
    "graphql_schema/test_images.py": {
        "test_an_image_tells_its_file_and_its_call": (
            "ImageGenerationCreateReq",
            "ImageGenerationCreateRes",
            "ImageGenerationRequestInputs",
        ),
    },
    "graphql_schema/completions/test_completions.py": {
        "test_a_completion_leads_to_its_call_with_usage_and_costs": ("CompletionsCreateReq", "CompletionsCreateRes"),
        "test_every_input_of_the_api_reaches_the_provider": ("CompletionsCreateRequestInputs",),
    },
    "graphql_schema/evaluations/test_running.py": {
        "test_a_run_is_ordered_watched_and_read": ("EvaluateModelReq", "EvaluateModelRes"),
    },
    "graphql_schema/evaluations/test_reading.py": {
        "test_each_status_is_a_type_of_its_own": (
            "EvaluationStatusReq",
            "EvaluationStatusRes",
            "EvaluationStatusNotFound",
            "EvaluationStatusRunning",
            "EvaluationStatusFailed",
            "EvaluationStatusComplete",
        ),
    },
}

PROOFS: Final[dict[str, str]] = {
    name: f"tests/{file}::{test}" for file, tests in _SHOWN.items() for test, names in tests.items() for name in names
}
"""Of each class the test; markers of Python have none."""
