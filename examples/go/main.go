// Takes payments and gives money back by the generated client. See README.md beside this file.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"math/big"
	"os"

	"gateway"
)

// The simulator reads from the last four digits what shall happen.
const (
	paidAtOnce    = "0001"
	buyerConfirms = "0101"
	noFunds       = "1016"
)

var (
	ctx      = context.Background()
	till     = clientOf("GATEWAY_API_KEY")
	operator = clientOf("GATEWAY_OPERATOR_KEY")
)

func setting(name string) string {
	value, isSet := os.LookupEnv(name)
	if !isSet {
		log.Fatalf("set %s", name)
	}
	return value
}

func clientOf(key string) *gateway.APIClient {
	configuration := gateway.NewConfiguration()
	configuration.Servers = gateway.ServerConfigurations{{URL: setting("GATEWAY_URL")}}
	configuration.AddDefaultHeader("Authorization", "Bearer "+setting(key))
	return gateway.NewAPIClient(configuration)
}

func digits(count int64) *big.Int {
	limit := new(big.Int).Exp(big.NewInt(10), big.NewInt(count), nil)
	number, err := rand.Int(rand.Reader, limit)
	check(err)
	return number
}

func barcode(ending string) string { return fmt.Sprintf("28%012d%s", digits(12), ending) }

func newKey() string { return fmt.Sprintf("%030d", digits(30)) }

// problemOf returns the problem document that an error carries, or nil.
func problemOf(err error) *gateway.Problem {
	var refused *gateway.GenericOpenAPIError
	if errors.As(err, &refused) {
		if problem, isProblem := refused.Model().(gateway.Problem); isProblem {
			return &problem
		}
	}
	return nil
}

func check(err error) {
	if problem := problemOf(err); problem != nil {
		log.Fatalf("%d %s: %s", problem.Status, problem.Code, problem.Detail)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func pay(ending string) *gateway.Payment {
	// One key for each payment, made before the first try and kept until it has ended: whatever is sent again by it charges once.
	key := newKey()
	order := gateway.NewCreatePaymentRequest(*gateway.NewAmountRequest("HKD", 12850), barcode(ending), "ORDER-"+key)
	order.SetTerminalId("T1")
	payment, _, err := till.PaymentsAPI.CreatePayment(ctx).IdempotencyKey(key).Prefer("wait=2").CreatePaymentRequest(*order).Execute()
	check(err)
	return payment
}

// ended reads a payment until nothing will change by itself. `wait` holds each answer until something has changed.
func ended(id string) *gateway.Payment {
	for {
		payment, _, err := till.PaymentsAPI.GetPayment(ctx, id).Wait(20).Execute()
		check(err)
		if payment.OutcomeCertainty == "final" {
			return payment
		}
	}
}

func main() {
	paid := pay(paidAtOnce)
	fmt.Printf("paid: %s with %s\n", paid.Status, paid.GetWallet())

	waiting := pay(buyerConfirms)
	fmt.Printf("waited: %s, then %s\n", waiting.Status, ended(waiting.Id).Status)

	declined := pay(noFunds)
	failure := declined.GetFailure()
	fmt.Printf("declined: %s, %s, retry %s\n", declined.Status, failure.Code, failure.Retry)

	wanted := gateway.NewCreateRefundRequest()
	wanted.SetAmount(*gateway.NewAmountRequest("HKD", 6425))
	wanted.SetReason("one tea was cold")
	refund, _, err := till.RefundsAPI.CreateRefund(ctx, paid.Id).IdempotencyKey(newKey()).CreateRefundRequest(*wanted).Execute()
	check(err)
	left := ended(paid.Id).Refunds.Refundable
	fmt.Printf("refunded: %s, %d of %d are left\n", refund.Status, left, paid.Amount.Value)

	for _, reference := range []string{pay(paidAtOnce).MerchantReference, "ORDER-" + newKey()} {
		order := gateway.NewCancelByReferenceRequest()
		order.SetMerchantReference(reference)
		outcome, _, err := till.PaymentsAPI.CancelPaymentByReference(ctx).CancelByReferenceRequest(*order).Execute()
		check(err)
		switch outcome := outcome.GetActualInstance().(type) {
		case *gateway.Payment:
			money := "nothing was paid"
			if outcome.GetMoneyReturned() {
				money = "money returned"
			}
			fmt.Printf("canceled: %s, %s\n", outcome.GetStatusReason(), money)
		case *gateway.CanceledBeforeCreation:
			fmt.Printf("canceled before it was created: %s\n", outcome.StatusReason)
		}
	}

	timeline, _, err := till.PaymentsAPI.GetPaymentTimeline(ctx, paid.Id).Execute()
	check(err)
	var attempts, transitions int
	for _, item := range timeline.Items {
		switch item.GetActualInstance().(type) {
		case *gateway.Attempt:
			attempts++
		case *gateway.Transition:
			transitions++
		}
	}
	fmt.Printf("timeline: %d attempts, %d transitions\n", attempts, transitions)

	file, err := os.Open("../2088000000000001_transaction_20260309.txt")
	check(err)
	report, _, err := operator.ReconciliationAPI.CreateReconciliation(ctx).File([]*os.File{file}).DryRun(true).Execute()
	check(err)
	fmt.Printf("uploaded: %s, %d rows\n", report.Status, report.Files[0].Rows)

	nothing := gateway.NewCreatePaymentRequest(*gateway.NewAmountRequest("HKD", 0), barcode(paidAtOnce), "ORDER-"+newKey())
	_, _, err = till.PaymentsAPI.CreatePayment(ctx).IdempotencyKey(newKey()).CreatePaymentRequest(*nothing).Execute()
	problem := problemOf(err)
	if problem == nil {
		log.Fatalf("no problem document: %v", err)
	}
	fmt.Printf("refused: %d %s at %s\n", problem.Status, problem.Code, problem.Errors[0].GetPointer())
}
