import gateway.ApiClient;
import gateway.ApiException;
import gateway.api.PaymentsApi;
import gateway.api.ReconciliationApi;
import gateway.api.RefundsApi;
import gateway.model.AmountRequest;
import gateway.model.Attempt;
import gateway.model.CancelByReferenceRequest;
import gateway.model.CanceledBeforeCreation;
import gateway.model.CreatePaymentRequest;
import gateway.model.CreateRefundRequest;
import gateway.model.Payment;
import gateway.model.Problem;
import gateway.model.Transition;
import java.io.File;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;

/** Takes payments and gives money back by the generated client. See README.md beside this file. */
public final class Example {
    // The simulator reads from the last four digits what shall happen.
    private static final String PAID_AT_ONCE = "0001";
    private static final String BUYER_CONFIRMS = "0101";
    private static final String NO_FUNDS = "1016";

    private static final ApiClient TILL = clientOf("GATEWAY_API_KEY");
    private static final ApiClient OPERATOR = clientOf("GATEWAY_OPERATOR_KEY");
    private static final PaymentsApi PAYMENTS = new PaymentsApi(TILL);

    private static String setting(String name) {
        String value = System.getenv(name);
        if (value == null) {
            throw new IllegalStateException("set " + name);
        }
        return value;
    }

    private static ApiClient clientOf(String key) {
        ApiClient client = new ApiClient();
        client.updateBaseUri(setting("GATEWAY_URL"));
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + setting(key)));
        return client;
    }

    private static String barcode(String ending) {
        return "28%012d%s".formatted(ThreadLocalRandom.current().nextLong(1_000_000_000_000L), ending);
    }

    private static AmountRequest hkd(long minorUnits) {
        return new AmountRequest().currency("HKD").value(minorUnits);
    }

    private static Payment pay(String ending) throws ApiException {
        // One key for each payment, made before the first try and kept until it has ended: whatever is sent again by it charges once.
        String key = UUID.randomUUID().toString();
        CreatePaymentRequest order = new CreatePaymentRequest()
                .amount(hkd(12850))
                .barcode(barcode(ending))
                .merchantReference("ORDER-" + key)
                .terminalId("T1");
        return PAYMENTS.createPayment(key, order, "wait=2", null, null);
    }

    /** Reads a payment until nothing will change by itself. `wait` holds each answer until something has changed. */
    private static Payment ended(String id) throws ApiException {
        while (true) {
            Payment payment = PAYMENTS.getPayment(id, 20, null);
            if (payment.getOutcomeCertainty().equals("final")) {
                return payment;
            }
        }
    }

    private static void tell(String format, Object... values) {
        System.out.printf(format + "%n", values);
    }

    public static void main(String[] arguments) throws Exception {
        Payment paid = pay(PAID_AT_ONCE);
        tell("paid: %s with %s", paid.getStatus(), paid.getWallet());

        Payment waiting = pay(BUYER_CONFIRMS);
        tell("waited: %s, then %s", waiting.getStatus(), ended(waiting.getId()).getStatus());

        Payment declined = pay(NO_FUNDS);
        var failure = declined.getFailure();
        tell("declined: %s, %s, retry %s", declined.getStatus(), failure.getCode(), failure.getRetry());

        var wanted = new CreateRefundRequest().amount(hkd(6425)).reason("one tea was cold");
        var refund = new RefundsApi(TILL).createRefund(paid.getId(), UUID.randomUUID().toString(), wanted, null, null, null);
        long left = ended(paid.getId()).getRefunds().getRefundable();
        tell("refunded: %s, %d of %d are left", refund.getStatus(), left, paid.getAmount().getValue());

        for (String reference : List.of(pay(PAID_AT_ONCE).getMerchantReference(), "ORDER-" + UUID.randomUUID())) {
            var order = new CancelByReferenceRequest().merchantReference(reference);
            Object outcome = PAYMENTS.cancelPaymentByReference(order, null).getActualInstance();
            if (outcome instanceof Payment canceled) {
                String money = canceled.getMoneyReturned() ? "money returned" : "nothing was paid";
                tell("canceled: %s, %s", canceled.getStatusReason(), money);
            } else if (outcome instanceof CanceledBeforeCreation never) {
                tell("canceled before it was created: %s", never.getStatusReason());
            }
        }

        var items = PAYMENTS.getPaymentTimeline(paid.getId()).getItems();
        long attempts = items.stream().filter(item -> item.getActualInstance() instanceof Attempt).count();
        long transitions = items.stream().filter(item -> item.getActualInstance() instanceof Transition).count();
        tell("timeline: %d attempts, %d transitions", attempts, transitions);

        File file = new File("../2088000000000001_transaction_20260309.txt");
        var report = new ReconciliationApi(OPERATOR).createReconciliation(List.of(file), null, true);
        tell("uploaded: %s, %d rows", report.getStatus(), report.getFiles().get(0).getRows());

        var nothing = new CreatePaymentRequest()
                .amount(hkd(0))
                .barcode(barcode(PAID_AT_ONCE))
                .merchantReference("ORDER-" + UUID.randomUUID());
        try {
            PAYMENTS.createPayment(UUID.randomUUID().toString(), nothing, null, null, null);
        } catch (ApiException refused) {
            Problem problem = TILL.getObjectMapper().readValue(refused.getResponseBody(), Problem.class);
            String pointer = problem.getErrors().get(0).getPointer();
            tell("refused: %d %s at %s", problem.getStatus(), problem.getCode(), pointer);
        }
    }
}
